"""What to do with each pair, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.audit.gather import BAD
from robustcmr.types import FloatArray

KEEP, DROP, REVIEW, ASIDE = range(4)
NAMES = ("keep", "drop", "review", "aside")
"""Decisions by code."""

REPEATED_ID = "id of an earlier pair"
DUPLICATE = "picture and caption of an earlier pair"
MISMATCHED = "looks mismatched"
FITS = "fits"
UNSURE = "may be mismatched"
UNJUDGED = "no probability"

_FIXED = (
    *("", REPEATED_ID, DUPLICATE, MISMATCHED, FITS, UNSURE, UNJUDGED),
    *(words.format(side) for side in ("image", "text") for words in BAD[1:]),
)

Codes = npt.NDArray[np.uint8]


def decide(
    problem: pa.Array,
    repeated_id: npt.NDArray[Any],
    bad: npt.NDArray[np.uint8],
    duplicate: npt.NDArray[Any],
    nothing: pa.Array,
    judged: Mapping[str, FloatArray],
) -> tuple[Codes, pa.Array]:
    """Return the decision and the reason of each pair.

    A pair with a problem is set aside. Dropped is one that is there already, one whose caption says nothing
    of any picture, and one that is more likely mismatched than not even at the low end of its probability. One
    that is not even at the high end is kept.

    Args:
        problem: why a pair cannot be used, null where it can, (n,) strings.
        repeated_id: true for pairs whose id an earlier pair has, (n,).
        bad: codes of what is wrong with the image and text vectors, (2, n).
        duplicate: true for pairs whose picture and caption an earlier pair has, (n,).
        nothing: why a caption describes no picture, null where it may, (n,) strings.
        judged: ``p_low`` and ``p_high``, the probability that a pair is mismatched, (n,); NaN where unknown.

    Returns:
        Codes of :data:`NAMES` (n,), and reasons (n,).
    """
    low, high = judged["p_low"], judged["p_high"]
    decision = np.full(len(low), REVIEW, np.uint8)
    decision[high <= 0.5] = KEEP
    decision[low > 0.5] = DROP
    fixed = np.select(
        [np.isnan(low), decision == DROP, decision == KEEP],
        [_FIXED.index(UNJUDGED), _FIXED.index(MISMATCHED), _FIXED.index(FITS)],
        _FIXED.index(UNSURE),
    )
    twice = duplicate.astype(bool)
    decision[twice], fixed[twice] = DROP, _FIXED.index(DUPLICATE)
    sides = len(BAD) - 1
    for number, side in ((1, bad[1]), (0, bad[0])):  # of two problems the image's is named
        wrong = side > 0
        decision[wrong] = ASIDE
        fixed[wrong] = len(_FIXED) - 2 * sides + number * sides + side[wrong] - 1
    again = repeated_id.astype(bool)
    decision[again], fixed[again] = ASIDE, _FIXED.index(REPEATED_ID)
    decision[problem.is_valid().to_numpy(zero_copy_only=False)] = ASIDE
    words = pa.array(_FIXED).take(pa.array(fixed.astype(np.int32)))
    says_nothing = nothing.is_valid().to_numpy(zero_copy_only=False) & (decision != ASIDE) & ~twice
    decision[says_nothing] = DROP
    words = pc.if_else(pa.array(says_nothing), nothing, words)
    return decision, pc.coalesce(problem, words)
