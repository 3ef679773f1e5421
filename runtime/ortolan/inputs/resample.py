"""Sound of one sampling rate at another: a polyphase low-pass filter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ortolan.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ZEROS = 10
"""Zero crossings of the filter on each side."""
BETA = 5.0
"""Of the Kaiser window. Both are scipy.signal.resample_poly's: models trained on its output see the same."""
MAX_RATIO = 1 << 16
"""Largest number in the reduced ratio of two rates; the filter's length grows with it."""
_BLOCK = 8192


def resampled(samples: NDArray[np.float32], rate: int, target: int) -> NDArray[np.float32]:
    """The sound at another rate: float32[ceil(n * target / rate)].

    The filter is a windowed sinc at the lower of the two Nyquist frequencies (Oppenheim & Schafer, Discrete-Time Signal
    Processing, chapter 4.6); beyond its ends the sound is taken to be silent.

    Args:
        samples: float32[n] at ``rate``.
        rate: samples per second, at least 1.
        target: the rate wanted, at least 1.

    Raises:
        InputError: rates whose ratio has no small numbers.
    """
    divisor = math.gcd(rate, target)
    up, down = target // divisor, rate // divisor
    if up == down:
        return samples
    widest = max(up, down)
    if widest > MAX_RATIO:
        raise InputError(
            f"expected a rate with a divisor in common with {target} Hz, found {rate} Hz; resample it first"
        )
    half = ZEROS * widest
    positions = np.arange(-half, half + 1)
    taps = np.sinc(positions / widest) * np.kaiser(2 * half + 1, BETA)
    taps *= up / taps.sum()
    count = -(-len(samples) * up // down)
    found = np.empty(count, np.float32)
    # Between the input's samples lie up - 1 zeros: each output meets only every up-th tap, the same ones in each phase.
    reach = half // up + 1
    padded = np.concatenate([np.zeros(reach, np.float32), samples, np.zeros(reach + down // up + 1, np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    for phase in range(min(up, count)):
        middle, offset = divmod(phase * down, up)
        index = half + offset + up * np.arange(reach, -reach - 1, -1)
        inside = (index >= 0) & (index <= 2 * half)
        kernel = np.where(inside, taps[index.clip(0, 2 * half)], 0.0).astype(np.float32)
        rows = windows[middle::down]
        wanted = -(-(count - phase) // up)
        for start in range(0, wanted, _BLOCK):
            stop = min(start + _BLOCK, wanted)
            found[phase + start * up : phase + (stop - 1) * up + 1 : up] = rows[start:stop] @ kernel
    return found
