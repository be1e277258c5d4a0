"""Divide pairs by probabilities that a method already has, without fitting anything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustcmr.types import Division


def divide_at(probability: npt.ArrayLike, threshold: float, reason: str) -> Division:
    """Call the pairs clean whose probability exceeds a threshold.

    Args:
        probability: (N,) in 0..1, that each pair is right.
        threshold: in [0, 1).
        reason: one sentence that says where the probabilities come from.

    Returns:
        The division, with 1 - probability as evidence. The noise rate is unknown, as such probabilities need
        not be calibrated.

    Raises:
        ValueError: a probability leaves 0..1 or is NaN.

    Example:
        >>> divide_at([0.9, 0.2], 0.5, "made up").is_clean
        array([ True, False])
    """
    clean = np.asarray(probability, dtype=np.float64)
    if not ((clean >= 0) & (clean <= 1)).all():
        raise ValueError(
            f"probability holds values in {clean.min():g}..{clean.max():g}; expected 0..1 for every pair"
        )
    return Division(clean, threshold, clean > threshold, 1 - clean, True, reason, None, None)
