from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from robustcmr.evaluation.diagnosis import CALIBRATION_BINS, diagnose_division
from robustcmr.selection.divide import divide_by_mixture
from robustcmr.types import Division

ONE_KIND = {"auroc", "average_precision", "precision", "recall", "f1"}


def division(clean_probability, evidence=None, threshold=0.5, rate=None, interval=None):
    probability = np.asarray(clean_probability, dtype=np.float64)
    evidence = 1 - probability if evidence is None else np.asarray(evidence, dtype=np.float64)
    return Division(
        probability, threshold, probability > threshold, evidence, rate is not None, "made up", rate, interval
    )


def suspicious(belief, i):
    return (1 - belief.clean_probability[i], belief.evidence[i])


def slow_auroc(belief, mismatched):
    """Every mismatched pair against every right one."""
    bad, good = np.flatnonzero(mismatched), np.flatnonzero(~mismatched)
    wins = [
        1.0
        if suspicious(belief, i) > suspicious(belief, j)
        else 0.5 * (suspicious(belief, i) == suspicious(belief, j))
        for i, j in itertools.product(bad, good)
    ]
    return sum(wins) / len(wins)


def slow_average_precision(belief, mismatched):
    """The sum over distinct cut-offs of precision times the recall gained there."""
    keys = sorted({suspicious(belief, i) for i in range(len(mismatched))}, reverse=True)
    total, before = 0.0, 0.0
    for key in keys:
        taken = [i for i in range(len(mismatched)) if suspicious(belief, i) >= key]
        hits = sum(bool(mismatched[i]) for i in taken)
        recall = hits / mismatched.sum()
        total += (recall - before) * hits / len(taken)
        before = recall
    return total


def slow_calibration(belief, mismatched):
    total = 0.0
    for b in range(CALIBRATION_BINS):
        inside = [
            i
            for i, p in enumerate(1 - belief.clean_probability)
            if min(math.floor(p * CALIBRATION_BINS), CALIBRATION_BINS - 1) == b
        ]
        if inside:
            mean = sum(1 - belief.clean_probability[i] for i in inside) / len(inside)
            share = sum(mismatched[i] for i in inside) / len(inside)
            total += len(inside) / len(mismatched) * abs(mean - share)
    return total


@pytest.mark.parametrize("seed", range(6))
def test_against_slow_loops(seed):
    rng = np.random.default_rng(seed)
    n = 90
    probability = rng.random(n).round(1)  # many ties, which the evidence breaks, and ties of both
    belief = division(probability, rng.random(n).round(1), threshold=0.35, rate=0.3, interval=(0.2, 0.45))
    mismatched = rng.random(n) < 0.2 + 0.5 * (1 - probability)
    found = diagnose_division(belief, mismatched).to_dict()
    suspected = probability <= 0.35
    hits = sum(bool(s and m) for s, m in zip(suspected, mismatched, strict=True))
    assert found == {
        "auroc": pytest.approx(slow_auroc(belief, mismatched)),
        "average_precision": pytest.approx(slow_average_precision(belief, mismatched)),
        "precision": pytest.approx(hits / suspected.sum()),
        "recall": pytest.approx(hits / mismatched.sum()),
        "f1": pytest.approx(2 / (suspected.sum() / hits + mismatched.sum() / hits)),
        "accuracy": pytest.approx(np.mean([s == m for s, m in zip(suspected, mismatched, strict=True)])),
        "calibration_error": pytest.approx(slow_calibration(belief, mismatched)),
        "suspected": pytest.approx(suspected.mean()),
        "noise_rate": 0.3,
        "noise_rate_low": 0.2,
        "noise_rate_high": 0.45,
        "noise_rate_true": pytest.approx(mismatched.mean()),
        "noise_rate_error": pytest.approx(0.3 - mismatched.mean()),
    }


def test_a_perfect_and_a_reversed_belief():
    mismatched = np.array([False, True, False, True, True])
    best = diagnose_division(division(1.0 - mismatched), mismatched)
    assert (best.auroc, best.average_precision, best.f1, best.accuracy, best.calibration_error) == (
        1,
        1,
        1,
        1,
        0,
    )
    worst = diagnose_division(division(mismatched * 1.0), mismatched)
    assert (worst.auroc, worst.precision, worst.recall, worst.f1, worst.accuracy) == (0, 0, 0, 0, 0)
    assert worst.calibration_error == 1


def test_certainty_shares_the_last_bin():
    belief = division([0.0, 0.04], [0.0, 0.0])
    found = diagnose_division(belief, np.array([False, True]))
    assert found.calibration_error == pytest.approx(abs((1 + 0.96) / 2 - 1 / 2))


def test_where_nothing_is_divided_the_evidence_still_ranks():
    """All probabilities are 1, yet the pair with more evidence is the worse one."""
    mismatched = np.array([False, True, False, True])
    belief = division(np.ones(4), [0.1, 0.8, 0.2, 0.9])
    found = diagnose_division(belief, mismatched).to_dict()
    assert found["auroc"] == found["average_precision"] == 1
    assert (found["recall"], found["f1"], found["suspected"]) == (0, 0, 0)
    assert found["accuracy"] == found["calibration_error"] == 0.5
    assert not {"precision", "noise_rate", "noise_rate_low", "noise_rate_high", "noise_rate_error"} & set(
        found
    )


def test_evidence_only_breaks_ties():
    belief = division([0.9, 0.1], [5.0, 1.0])
    assert diagnose_division(belief, np.array([False, True])).auroc == 1


@pytest.mark.parametrize("all_wrong", [False, True])
@pytest.mark.parametrize("probability", [[0.9, 0.2, 0.6], [0.9, 0.8, 0.6]])
def test_one_kind_alone_cannot_be_told_from_the_other(all_wrong, probability):
    belief = division(probability, rate=0.1, interval=(0.0, 0.2))
    found = diagnose_division(belief, np.full(3, all_wrong)).to_dict()
    suspected = sum(p <= 0.5 for p in probability) / 3
    assert not ONE_KIND & set(found)
    assert found["suspected"] == pytest.approx(suspected)
    assert found["accuracy"] == pytest.approx(suspected if all_wrong else 1 - suspected)
    assert found["noise_rate_true"] == float(all_wrong)
    assert found["noise_rate_error"] == pytest.approx(0.1 - all_wrong)


def test_an_interval_that_is_not_finite_is_left_out():
    found = diagnose_division(
        division([0.2, 0.9], rate=1.0, interval=(float("nan"), 1.0)), np.array([True, False])
    )
    assert "noise_rate_low" not in found.to_dict()
    assert found.to_dict()["noise_rate_high"] == 1


def test_values_are_plain_and_a_real_division_is_judged_well():
    rng = np.random.default_rng(3)
    mismatched = rng.random(600) < 0.3
    evidence = np.where(mismatched, rng.normal(0.8, 0.08, 600), rng.normal(0.2, 0.08, 600))
    found = diagnose_division(divide_by_mixture(evidence), mismatched).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert all(type(value) is float for value in found.values())
    assert found["auroc"] > 0.99
    assert found["calibration_error"] < 0.05
    assert abs(found["noise_rate_error"]) < 0.05
    assert found["noise_rate_low"] < 0.3 < found["noise_rate_high"]


@pytest.mark.parametrize(
    "mismatched", [np.array([True]), np.array([0, 1, 0]), np.zeros((3, 1), bool), np.array([0.0, 1.0, 0.0])]
)
def test_another_shape_or_type_is_refused(mismatched):
    with pytest.raises(ValueError, match="vector of 3 bool"):
        diagnose_division(division([0.1, 0.5, 0.9]), mismatched)


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="empty"):
        diagnose_division(division([]), np.zeros(0, bool))
