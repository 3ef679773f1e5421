"""Whether a smaller variant is worth to be in a bundle."""

from __future__ import annotations

from math import ceil, isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ortolan.types import Fidelity

WORTHWHILE = 0.9
"""A variant must be smaller than this share of the next larger one, or it is left out."""
_COUNTED = {"embedding": "vectors", "tensor": "answers", "token": "labels of tokens"}
"""What a drop is a share of, by metric; decisions where there is nothing here."""


def objection(fidelity: Fidelity, max_drop: float, size: int, larger: tuple[str, int]) -> str | None:
    """Why a variant is left out; None if it is not.

    Args:
        fidelity: of its answers to the source's.
        max_drop: largest share of samples whose decision it may change.
        size: its bytes.
        larger: name and bytes of the next larger variant.
    """
    if not isfinite(fidelity.worst):
        return "its answers are not finite"
    if fidelity.drop > max_drop:
        what = _COUNTED.get(fidelity.metric, "decisions")
        return f"it changes {fidelity.drop:.2%} of the {what}, more than the allowed {max_drop:.2%}"
    ratio = size / larger[1]
    if ratio > WORTHWHILE:
        return f"it is {ratio:.0%} of {larger[0]}'s size, which does not pay"
    return None


def too_few(count: int, max_drop: float) -> str | None:
    """What to tell a user whose samples cannot show the drop asked for; None if they can."""
    if count * max_drop >= 1:
        return None
    samples = "1 sample" if count == 1 else f"{count} samples"
    needed = ceil(1 / max_drop) if max_drop else "many more"
    return f"{samples} cannot show a drop of {max_drop:.2%}; give at least {needed}"
