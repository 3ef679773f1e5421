"""When the queries of the server scenario arrive. Pure: the same seed gives the same arrivals."""

from __future__ import annotations

from random import Random


def poisson(count: int, rate: float, seed: int) -> list[float]:
    """Seconds after the beginning at which ``count`` queries arrive: a Poisson process of ``rate`` per second.

    Given their number, the arrivals of a Poisson process are independent and uniform over the time (Ross, Introduction
    to Probability Models, section 5.3.5): drawn like this the rate is exactly the one asked for, where sums of
    exponential gaps would miss it by 1/sqrt(count).
    """
    random = Random(seed)  # noqa: S311 - a load, not a secret
    return sorted(random.random() * count / rate for _ in range(count))
