"""Evidence checked, and on a common scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.errors import TrainingDivergedError

Values = npt.NDArray[np.float64]

_TAIL = 0.01


def as_array(evidence: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return a list, an array or a tensor, of any type and on any device, as an array.

    Raises:
        ValueError: its rows differ in length.
    """
    detach = getattr(evidence, "detach", None)  # of a tensor; there is no gradient to keep
    try:
        return np.asarray(evidence if detach is None else detach().cpu().double())
    except (ValueError, TypeError) as error:
        raise ValueError(f"the evidence cannot be read as one vector of numbers: {error}") from error


def check_evidence(evidence: npt.ArrayLike) -> Values:
    """Return the evidence, see ``as_array``, as a vector of float64.

    Raises:
        ValueError: it is empty or not a vector of real numbers.
        TrainingDivergedError: a value is NaN or infinite.
    """
    given = as_array(evidence)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "fiu":
        hint = "; of a score matrix, take batch_hinge(scores)" if given.ndim == 2 else ""
        raise ValueError(
            "evidence must be a vector of at least one real number, "
            f"got {given.dtype} of shape {given.shape}{hint}"
        )
    values = given.astype(np.float64)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise TrainingDivergedError(
            f"the evidence of {bad} of {len(values)} pairs is NaN or infinite, so they cannot be divided; "
            "lower the learning rate or train in float32"
        )
    return values


def robust_range(values: Values, reach: float = 1.0) -> tuple[float, float]:
    """Return the values that :func:`robust_min_max` maps to 0 and 1; equal where all values are.

    The range extends beyond the middle 98% by at most ``reach`` times its width.
    """
    least, most = float(values.min()), float(values.max())
    size = max(1.0, abs(least), abs(most))  # so that no difference overflows
    low, high = (float(q) for q in np.quantile(values / size, (_TAIL, 1 - _TAIL)))
    margin = reach * (high - low)
    if high > low:
        return max(least, size * max(-1.0, low - margin)), min(most, size * min(1.0, high + margin))
    return least, most


def robust_min_max(evidence: npt.ArrayLike, reach: float = 1.0) -> Values:
    """Shift and scale to 0..1 like min-max, without letting single outliers set the scale.

    Values (N,) further from the middle 98% than ``reach`` times its width become 0 or 1. All are 0 where all
    values are equal. Errors are those of :func:`check_evidence`.
    """
    values = check_evidence(evidence)
    values = values / max(1.0, float(np.abs(values).max()))  # so that no difference overflows
    low, high = robust_range(values, reach)
    if not high > low:
        return np.zeros_like(values)
    return np.asarray(np.clip((values - low) / (high - low), 0.0, 1.0), dtype=np.float64)
