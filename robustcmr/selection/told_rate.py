"""What may be said of an estimated noise rate: an interval that allows for more than chance, or nothing."""

from __future__ import annotations

from dataclasses import replace

from robustcmr.types import Division

_LEAST_REACH = 0.04
"""An interval reaches at least this far to either side: what a fit cannot know of its own shape."""


def told_noise_rate(believed: Division, of_matcher: Division, early: bool = False) -> Division:
    """Return a division whose noise rate may be told, or whose rate and interval are None.

    Intervals of a fit know the error of sampling alone. Clean pairs that are not understood look wrong, and
    wrong ones that are memorised look clean, so the interval is widened to 4 points either side. The rate is
    withheld early in training, when most pairs look wrong to a matcher. Where a division that goes by the
    words and image features is believed, the rate of the matcher must lie in its interval.

    Args:
        believed: the division to tell; that of the matcher, or one that words and image features help.
        of_matcher: by the evidence of the matcher.
        early: whether the matcher has hardly begun to train.

    Returns:
        The division believed, with another interval, or with a ``reason`` why its rate is not told.

    Example:
        >>> import numpy as np
        >>> clean, evidence = np.array([0.9, 0.1]), np.array([0.2, 2.1])
        >>> found = Division(clean, 0.5, clean > 0.5, evidence, True, "two groups", 0.42, (0.41, 0.43))
        >>> [round(end, 2) for end in told_noise_rate(found, found).noise_interval]
        [0.38, 0.46]
        >>> print(told_noise_rate(found, found, early=True).noise_rate)
        None
    """
    rate, interval = believed.noise_rate, believed.noise_interval
    if rate is None or interval is None:
        return believed
    if early:
        return _withheld(believed, "the matcher has trained for too few epochs to tell")
    low = max(0.0, min(interval[0], rate - _LEAST_REACH))
    high = min(1.0, max(interval[1], rate + _LEAST_REACH))
    if of_matcher is not believed:
        other = of_matcher.noise_rate
        if other is None or other > high + _LEAST_REACH:
            seen = "cannot tell" if other is None else f"finds {other:.0%} wrong"
            told = f"with the words and image features {rate:.0%} of the pairs look wrong"
            return _withheld(believed, f"{told}, but the matcher alone {seen}")
    return replace(believed, noise_interval=(low, high))


def _withheld(division: Division, reason: str) -> Division:
    return replace(division, noise_rate=None, noise_interval=None, reason=reason)
