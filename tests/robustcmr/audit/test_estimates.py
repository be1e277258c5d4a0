from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from robustcmr.audit.design import Design, allocate, draw, make_design
from robustcmr.audit.estimates import (
    Labelled,
    labels_for_width,
    list_precision,
    list_recall,
    noise_rate,
    share_bound,
)
from robustcmr.errors import DataError


def world(rate: float, n: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, Design]:
    """Scores whose probabilities miss some wrong pairs, which look right."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < rate
    hidden = wrong & (rng.random(n) < 0.3)
    score = np.where(wrong & ~hidden, rng.normal(-3, 2, n), rng.normal(4, 2, n)).astype(np.float32)
    return score, wrong.astype(float), make_design([score], [score])


def labelled(
    score: np.ndarray, wrong: np.ndarray, design: Design, labels: int, seed: int
) -> tuple[Labelled, np.ndarray]:
    rows, strata, _ = draw([score], design, allocate(design, labels), seed)
    return Labelled(wrong[rows], expit(-score[rows].astype(float)), strata), rows


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.6])
@pytest.mark.parametrize("by_predictions", [False, True])
def test_intervals_cover(rate: float, by_predictions: bool) -> None:
    score, wrong, design = world(rate)
    covered, widths, values = 0, [], []
    for seed in range(100):
        found = noise_rate(
            labelled(score, wrong, design, 400, seed)[0],
            design.counts,
            design.means if by_predictions else None,
        )
        covered += found.low <= wrong.mean() <= found.high
        widths.append(found.width)
        values.append(found.value)
    assert covered >= 0.92 * 100
    assert np.mean(widths) < 0.08
    assert np.mean(values) == pytest.approx(wrong.mean(), abs=0.01)


def test_stratified_mean_is_the_formula() -> None:
    found = noise_rate(
        Labelled(np.array([1, 1, 0, 0, 0.5]), np.zeros(5), np.array([0, 0, 1, 1, 1])), np.array([30, 70])
    )
    assert found.value == pytest.approx(0.3 * 1 + 0.7 * 0.5 / 3)
    assert found.labels == 5


def test_good_predictions_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(40_000)
    wrong = (rng.random(40_000) < chance).astype(float)
    rows = rng.choice(40_000, 400, replace=False)
    one = Labelled(wrong[rows], chance[rows], np.zeros(400, np.int64))
    counts, means = np.array([40_000]), np.array([chance.mean()])
    assert noise_rate(one, counts, means).width < 0.9 * noise_rate(one, counts).width


def test_a_stratum_without_label_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 strata of the score have no label yet"):
        noise_rate(Labelled(np.ones(3), np.ones(3), np.zeros(3, np.int64)), np.array([5, 5]))


def test_four_times_the_labels_halve_the_width() -> None:
    score, wrong, design = world(0.3)
    found = noise_rate(labelled(score, wrong, design, 400, 0)[0], design.counts)
    assert labels_for_width(found, found.width / 2) == 1600


@pytest.mark.parametrize("share", [0.9, 0.97, 1.0])
def test_bound_of_a_list_holds(share: float) -> None:
    rng, counts = np.random.default_rng(0), np.array([600, 400])
    below = 0
    for _ in range(400):
        strata = np.repeat([0, 1], [60, 90])
        wrong = (rng.random(150) < share).astype(float)
        value, low, effective = share_bound(Labelled(wrong, wrong, strata), counts)
        assert low <= value <= 1
        assert effective <= 150
        below += low <= share
    assert below >= 0.93 * 400


def test_partly_wrong_pairs_do_not_prove_precision() -> None:
    strata = np.zeros(100, np.int64)
    assert share_bound(Labelled(np.full(100, 0.5), np.ones(100), strata), np.array([100]))[0] == 0.0
    assert share_bound(Labelled(np.ones(0), np.ones(0), np.zeros(0, np.int64)), np.array([9])) == (0, 0, 0)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_precision_and_recall_of_a_list_are_covered(rate: float) -> None:
    score, wrong, design = world(rate)
    on_list = score < 1
    strata = design.stratum(score)
    within, beyond = (
        np.bincount(strata[chosen], minlength=len(design.counts)) for chosen in (on_list, ~on_list)
    )
    truth = wrong[on_list].mean(), wrong[on_list].sum() / wrong.sum()
    covered = np.zeros(2)
    for seed in range(60):
        one, rows = labelled(score, wrong, design, 400, seed)
        inside = on_list[rows]
        found = list_precision(one.only(inside), within), list_recall(one, inside, within, beyond)
        covered += [each.low <= value <= each.high for each, value in zip(found, truth, strict=True)]
        assert all(each.low <= each.value <= each.high for each in found)
    assert (covered >= 0.9 * 60).all()


def test_recall_without_wrong_pairs_is_unknown() -> None:
    one = Labelled(np.zeros(4), np.zeros(4), np.array([0, 0, 1, 1]))
    found = list_recall(one, np.array([True, True, False, False]), np.array([5, 0]), np.array([0, 5]))
    assert (found.low, found.high) == (0.0, 1.0)
