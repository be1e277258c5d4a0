"""Shares of a whole-set rematching that are right, by hand."""

import numpy as np
import pytest

from robustcmr.evaluation.whole_set_quality import evaluate_whole_set

FITS = np.array([[True, False], [False, True], [False, False], [False, False]])
SCORES = np.array([[0.9, 0.8], [0.5, 0.4], [0.7, 0.6], [-np.inf, -np.inf]], dtype=np.float32)
PLAN = np.array([[0.1, 0.1], [0.0, 0.25], [0.05, 0.0], [0.0, 0.0]], dtype=np.float32)
PLACE = np.array([0, 1, 0, -1])


def test_shares_are_those_worked_out_by_hand():
    quality = evaluate_whole_set(FITS, SCORES, PLAN, PLACE, 0.125)
    assert quality["plan"] == pytest.approx(0.35 / 0.5)
    assert quality["suggestions"] == 0.5
    assert quality["suggestions_same_mass"] == 1.0  # captions 1 and 0 moved most
    assert quality["best_score"] == 0.25
    assert quality["best_score_same_mass"] == 0.5  # captions 0 and 2 score best
    assert quality["candidates"] == pytest.approx((0.5 * 0.2 + 0.5 * 0.25) / 0.5)
    assert quality["chance"] == 0.125
    assert quality["reachable"] == 0.5
    assert len(quality) == 8


def test_what_was_not_moved_has_no_shares():
    quality = evaluate_whole_set(FITS, SCORES, 0 * PLAN, PLACE, 0.0)
    assert set(quality) == {"suggestions", "best_score", "chance", "reachable"}


@pytest.mark.parametrize(("fits", "place"), [(FITS[:0], PLACE[:0]), (FITS[:, :1], PLACE), (FITS, PLACE[:2])])
def test_shapes_that_do_not_fit_are_refused(fits, place):
    with pytest.raises(ValueError, match="of one shape"):
        evaluate_whole_set(fits, SCORES[: len(fits)], PLAN[: len(fits)], place, 0.0)
