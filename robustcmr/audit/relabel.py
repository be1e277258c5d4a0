"""The pairs of an audit judged again by what people said of some of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import logit

from robustcmr.audit.decide import BOILERPLATE, DROP, FITS, MISMATCHED, NAMES, REVIEW, UNSURE, Codes
from robustcmr.audit.recalibrate import Recalibration

BY_SCORE = (FITS, UNSURE, MISMATCHED, BOILERPLATE)
"""Reasons of pairs whose score decided; all others keep their decision."""

_EDGE = 1e-7  # float32 probabilities that are 0 or 1 have no log odds


def judged_again(
    table: pa.Table, recalibration: Recalibration, cut: float | None, by: str
) -> tuple[pa.Table, Codes]:
    """Return pairs with corrected probabilities and decisions, and the codes of the decisions, (n,).

    Args:
        table: pairs as the audit wrote them.
        recalibration: by the labels.
        cut: of a certified list: pairs with at most this score are dropped, and no others for their score:
            those that were need a look; None leaves the decisions.
        by: what ``calibrated_by`` says.
    """
    score = _numbers(table, "score")
    ends = [logit(np.clip(_numbers(table, name), _EDGE, 1 - _EDGE)) for name in ("p_low", "p_high")]
    value, low, high = recalibration(-score, *ends)
    reasons = np.array(table["reason"].cast(pa.string()).to_pylist(), dtype=object)
    decision = np.array(
        [NAMES.index(name) for name in table["decision"].cast(pa.string()).to_pylist()], np.uint8
    )
    free = np.isin(reasons, BY_SCORE) & ~np.isnan(score)
    if cut is not None:
        proven, doubtful = free & (score <= cut), free & (score > cut) & (decision == DROP)
        reasons[proven & (decision != DROP)] = MISMATCHED
        decision[proven], decision[doubtful] = DROP, REVIEW
        reasons[doubtful] = UNSURE
    columns = {
        **{
            name: pa.array(values.astype(np.float32), mask=np.isnan(values))
            for name, values in (("p_mismatch", value), ("p_low", low), ("p_high", high))
        },
        "decision": pa.DictionaryArray.from_arrays(pa.array(decision.astype(np.int32)), pa.array(NAMES)),
        "reason": pa.array(reasons.tolist(), pa.string()).dictionary_encode(),
        "calibrated_by": pa.array([by] * len(table), pa.string()).dictionary_encode(),
    }
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), values)
    return table, decision


def _numbers(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers, NaN where there is none."""
    return np.asarray(table[name].to_numpy().astype(np.float64))
