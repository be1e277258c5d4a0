"""What to do with a pair, from the interval of its probability of being wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DECISIONS = ("keep", "review", "drop", "aside")
"""By code. ``aside`` is for pairs that could not be judged."""

DROP_ABOVE = 0.5
"""Dropped where even the lower end of the interval says more likely wrong than right."""
KEEP_BELOW = 0.1
"""Kept where even the upper end is at most one in ten."""


def decide(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    """Return the code of each decision, (n,), from the ends of the intervals, (n,) each.

    Example:
        >>> [DECISIONS[code] for code in decide(np.array([0.0, 0.3, 0.7]), np.array([0.05, 0.6, 0.9]))]
        ['keep', 'review', 'drop']
    """
    return np.where(low > DROP_ABOVE, 2, np.where(high <= KEEP_BELOW, 0, 1)).astype(np.int8)
