from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from robustcmr.audit.design import LIKELY_RIGHT, LIKELY_WRONG, allocate, draw, make_design
from robustcmr.errors import DataError


def scores(n: int = 5000, wrong: float = 0.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(n) < wrong, rng.normal(-3, 2, n), rng.normal(4, 2, n)).astype(np.float32)
    values[::50] = np.nan
    return values


def test_strata_are_about_equal_and_split_at_even_odds() -> None:
    values = scores()
    design = make_design([values[:2000], values[2000:]], [values])
    assert len(design.counts) == LIKELY_WRONG + LIKELY_RIGHT
    assert design.counts.sum() == (~np.isnan(values)).sum()
    assert np.ptp(design.counts[:LIKELY_WRONG]) <= 2
    assert np.ptp(design.counts[LIKELY_WRONG:]) <= 2
    known = values[~np.isnan(values)]
    strata = design.stratum(known)
    assert ((strata < LIKELY_WRONG) == (known < 0)).all()
    for stratum in range(len(design.counts)):
        mean = expit(-known[strata == stratum].astype(float)).mean()
        assert design.means[stratum] == pytest.approx(mean)


@pytest.mark.parametrize(
    "values", [np.full(300, 2.0), np.full(300, -2.0), np.r_[np.full(200, 1.0), np.full(9, -1)]]
)
def test_equal_scores(values: np.ndarray) -> None:
    design = make_design([values.astype(np.float32)], [values.astype(np.float32)])
    assert design.counts.sum() == len(values)
    assert allocate(design, 30).sum() == 30


def test_no_score_is_refused() -> None:
    with pytest.raises(DataError, match="no pair of the audit has a score"):
        make_design([np.full(3, np.nan, np.float32)], [])


def test_allocation_adds_up_and_is_bounded() -> None:
    values = scores()
    design = make_design([values], [values])
    for labels in (60, 400, 10**6):
        found = allocate(design, labels)
        assert found.sum() == min(labels, design.counts.sum())
        assert (found <= design.counts).all()
    found = allocate(design, 400)
    assert found[:LIKELY_WRONG].sum() == pytest.approx(152, abs=3)
    assert found[LIKELY_WRONG] > found[-1]  # doubtful pairs get more than sure ones


def test_each_pair_of_a_stratum_is_as_likely() -> None:
    values = scores(400)
    design = make_design([values], [values])
    sizes = allocate(design, 100)
    times = np.zeros(400)
    for seed in range(400):
        numbers, strata, chance = draw([values[:150], values[150:]], design, sizes, seed)
        assert len(np.unique(numbers)) == sizes.sum()
        assert (design.stratum(values[numbers]) == strata).all()
        times[numbers] += 1
    assert (times[np.isnan(values)] == 0).all()
    known = np.flatnonzero(~np.isnan(values))
    expected = (sizes / design.counts)[design.stratum(values[known])]
    error = np.sqrt(expected * (1 - expected) / 400)
    assert (np.abs(times[known] / 400 - expected) < 4.5 * error + 1e-9).all()
    np.testing.assert_allclose(chance, (sizes / design.counts)[strata])


def test_more_labels_keep_those_drawn_before() -> None:
    values = scores()
    design = make_design([values], [values])
    few, _, _ = draw([values], design, allocate(design, 100), 3)
    many, _, _ = draw([values], design, allocate(design, 300), 3)
    assert set(few) <= set(many)
    other, _, _ = draw([values], design, allocate(design, 100), 4)
    assert set(few) != set(other)
