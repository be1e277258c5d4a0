"""Groups of pairs from the calls of two divisions, or from one probability by several thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def agreement_sets(first: npt.ArrayLike, second: npt.ArrayLike) -> dict[str, Mask]:
    """Return the pairs that two divisions call clean, that they disagree on, and that both call noisy.

    Args:
        first: (N,) bool, whether the first calls each pair clean, such as ``division.is_clean``.
        second: (N,) bool, likewise.

    Returns:
        (N,) bool by name, ``clean``, ``hard`` and ``noisy``; every pair is in one of them.

    Raises:
        ValueError: they are no two vectors of bool of the same length.

    Example:
        >>> sets = agreement_sets([True, True, False], [True, False, False])
        >>> {name: members.tolist() for name, members in sets.items()}
        {'clean': [True, False, False], 'hard': [False, True, False], 'noisy': [False, False, True]}

    References:
        CREAM, TIP 2024, division by two networks.
    """
    one, other = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != other.shape or one.dtype != np.bool_ or other.dtype != np.bool_:
        raise ValueError(
            "expected two vectors of bool, one value a pair each, "
            f"got {one.dtype} {one.shape} and {other.dtype} {other.shape}"
        )
    return {"clean": one & other, "hard": one ^ other, "noisy": ~(one | other)}


def threshold_sets(probability: npt.ArrayLike, thresholds: Sequence[float]) -> list[Mask]:
    """Return the pairs above the first threshold, those between each two, and those at most the last.

    Args:
        probability: (N,) float, clean probabilities.
        thresholds: k numbers that do not rise, such as (0.6, 0.5); equal ones leave the set between empty.

    Returns:
        k + 1 masks, (N,) bool; every pair is in one of them.

    Raises:
        ValueError: the probabilities are no vector, or the thresholds rise or are missing.

    Example:
        >>> [members.tolist() for members in threshold_sets([0.9, 0.55, 0.5], (0.6, 0.5))]
        [[True, False, False], [False, True, False], [False, False, True]]

    References:
        SPS, IJCAI 2025, strictly clean, clean and noisy pairs.
    """
    values, limits = np.asarray(probability), np.asarray(thresholds, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"probability must be a vector, one value a pair, got shape {values.shape}")
    if limits.size == 0 or (np.diff(limits) > 0).any():
        raise ValueError(
            f"thresholds are {list(thresholds)}; expected at least one, each at most the one before it"
        )
    place = (values[None, :] <= limits[:, None]).sum(0)  # (N,) how many thresholds are not exceeded
    return [place == k for k in range(len(limits) + 1)]
