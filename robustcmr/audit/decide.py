"""What to do with each pair, and why."""

from __future__ import annotations

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

DROP_ABOVE = 0.5
"""Dropped where even the lower end of the interval says more likely wrong than right."""
KEEP_BELOW = 0.1
"""Kept where even the upper end is at most one in ten."""

REPEATED_ID = "id of an earlier pair"
DUPLICATE = "picture and caption of an earlier pair"
NEAR_DUPLICATE = "near picture and caption of an earlier pair"
MISMATCHED = "looks mismatched"
FITS = "fits"
BOILERPLATE = "boilerplate caption"
UNSURE = "may be mismatched"
UNJUDGED = "no probability"

_FIXED = (
    *("", REPEATED_ID, DUPLICATE, NEAR_DUPLICATE, BOILERPLATE, MISMATCHED, FITS, UNSURE, UNJUDGED),
    *(words.format(side) for side in ("image", "text") for words in BAD[1:]),
)

Codes = npt.NDArray[np.uint8]


def decide(
    problem: pa.Array,
    repeated_id: npt.NDArray[Any],
    bad: npt.NDArray[np.uint8],
    duplicate: npt.NDArray[Any],
    near: npt.NDArray[Any],
    nothing: pa.Array,
    low: FloatArray,
    high: FloatArray,
    pasted: npt.NDArray[np.bool_],
) -> tuple[Codes, pa.Array]:
    """Return the decision and the reason of each pair.

    A pair with a problem is set aside. Dropped are those that are there already, or whose caption tells
    nothing of any picture. Of the others, the ends of the probability decide; pairs near an earlier one need
    a look.

    Args:
        problem: why a pair cannot be used, null where it can, (n,) strings.
        repeated_id: true for pairs whose id an earlier pair has, (n,).
        bad: codes of what is wrong with the image and text vectors, (2, n).
        duplicate: true for pairs whose picture and caption an earlier pair has, (n,).
        near: true for pairs whose picture and caption are near those of an earlier pair, (n,).
        nothing: why a caption describes no picture, null where it may, (n,) strings.
        low: low end of the probability that a pair is mismatched, (n,); NaN where unknown.
        high: its high end, (n,).
        pasted: true for pairs whose caption was pasted beside several pictures, (n,).

    Returns:
        Codes of :data:`NAMES` (n,), and reasons (n,).
    """
    decision = np.full(len(low), REVIEW, np.uint8)
    decision[high <= KEEP_BELOW] = KEEP
    decision[low > DROP_ABOVE] = DROP
    fixed = np.select(
        [np.isnan(low), (decision == DROP) & pasted, decision == DROP, decision == KEEP],
        [_FIXED.index(name) for name in (UNJUDGED, BOILERPLATE, MISMATCHED, FITS)],
        _FIXED.index(UNSURE),
    )
    twice = duplicate != 0
    decision[twice], fixed[twice] = DROP, _FIXED.index(DUPLICATE)
    # near is not equal: two captions of one picture may be worth keeping, and people should say so
    alike = (near != 0) & (decision != DROP)
    decision[alike], fixed[alike] = REVIEW, _FIXED.index(NEAR_DUPLICATE)
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
