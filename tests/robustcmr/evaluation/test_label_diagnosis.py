from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from robustcmr.evaluation.diagnosis import CALIBRATION_BINS
from robustcmr.evaluation.label_diagnosis import diagnose_labels


def case(seed, n=120, k=5, modalities=1):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    noisy = [np.where(rng.random(n) < 0.4, rng.integers(0, k, n), truth) for _ in range(modalities)]
    corrected = np.where(rng.random(n) < 0.25, rng.integers(0, k, n), truth)
    evidence = rng.random(n).round(1)  # with ties
    confidence = rng.random(n).round(2)
    return np.stack(noisy, axis=1), corrected, truth, evidence, confidence


def slow_calibration(confidence, right):
    """Bins of the probability of being wrong."""
    bins: dict[int, list[int]] = {}
    for i, sure in enumerate(confidence):
        bins.setdefault(min(math.floor((1 - sure) * CALIBRATION_BINS), CALIBRATION_BINS - 1), []).append(i)
    return sum(
        len(inside) / len(confidence) * abs(np.mean(confidence[inside]) - np.mean(right[inside]))
        for inside in bins.values()
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("modalities", [1, 2])
def test_against_slow_loops(seed, modalities):
    given, corrected, truth, evidence, confidence = case(seed, modalities=modalities)
    found = diagnose_labels(given, corrected, truth, 5, evidence, confidence)
    entries = [
        (int(g), int(c), int(t)) for row, c, t in zip(given, corrected, truth, strict=True) for g in row
    ]
    wrong = [(g, c, t) for g, c, t in entries if g != t]
    right = [(g, c, t) for g, c, t in entries if g == t]
    wrong_pairs = np.array([any(g != t for g in row) for row, t in zip(given, truth, strict=True)])
    expected = {
        "given_accuracy": len(right) / len(entries),
        "corrected_accuracy": np.mean([c == t for c, t in zip(corrected, truth, strict=True)]),
        "changed": np.mean([g != c for g, c, _ in entries]),
        "repaired": np.mean([c == t for _, c, t in wrong]),
        "broken": np.mean([c != t for _, c, t in right]),
        "wrong_pairs": wrong_pairs.mean(),
        "auroc": roc_auc_score(wrong_pairs, evidence),
        "average_precision": average_precision_score(wrong_pairs, evidence),
        "calibration_error": slow_calibration(confidence, corrected == truth),
    }
    if modalities == 2:
        expected["given_accuracy_image"] = np.mean(given[:, 0] == truth)
        expected["given_accuracy_text"] = np.mean(given[:, 1] == truth)
    assert found.to_dict() == {key: pytest.approx(value) for key, value in expected.items()}
    for matrix, pairs in {
        "given_to_corrected": [(g, c) for g, c, _ in entries],
        "given_to_truth": [(g, t) for g, _, t in entries],
        "corrected_to_truth": list(zip(corrected, truth, strict=True)),
    }.items():
        counted = confusion_matrix(*zip(*pairs, strict=True), labels=range(5))
        np.testing.assert_array_equal(getattr(found, matrix), counted)
        assert getattr(found, matrix).dtype == np.int64
        assert found.confusions()[matrix] == counted.tolist()


def test_by_hand():
    given = np.array([0, 0, 1, 2])
    corrected = np.array([0, 1, 1, 0])
    truth = np.array([0, 1, 0, 2])  # right and kept; repaired; wrong and kept; broken
    found = diagnose_labels(given, corrected, truth, 3, evidence=np.array([0.1, 0.9, 0.2, 0.3]))
    assert found.given_accuracy == found.corrected_accuracy == found.changed == 0.5
    assert (found.repaired, found.broken, found.wrong_pairs) == (0.5, 0.5, 0.5)
    assert found.auroc == 0.75
    assert found.corrected_to_truth.tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]


def test_one_column_is_one_label():
    given, corrected, truth, evidence, confidence = case(1)
    flat = diagnose_labels(given[:, 0], corrected, truth, 5, evidence, confidence)
    column = diagnose_labels(given, corrected, truth, 5, evidence, confidence)
    assert flat.to_dict() == column.to_dict()
    assert flat.confusions() == column.confusions()
    assert flat.given_accuracy_by_modality == (flat.given_accuracy,)


def test_a_perfect_correction_and_a_sure_one():
    given, _, truth, _, _ = case(2)
    wrong = given[:, 0] != truth
    found = diagnose_labels(given, truth, truth, 5, wrong.astype(np.float64), np.ones(len(truth)))
    assert (found.corrected_accuracy, found.repaired, found.broken) == (1, 1, 0)
    assert (found.auroc, found.average_precision, found.calibration_error) == (1, 1, 0)
    assert found.changed == found.wrong_pairs == wrong.mean()
    unsure = diagnose_labels(given, truth, truth, 5, confidence=np.zeros(len(truth)))
    assert unsure.calibration_error == 1


def test_what_is_not_known_is_absent():
    labels = np.array([0, 1, 1])
    found = diagnose_labels(labels, labels, labels, 2)
    assert found.to_dict() == {
        "given_accuracy": 1,
        "corrected_accuracy": 1,
        "changed": 0,
        "broken": 0,
        "wrong_pairs": 0,
    }
    assert diagnose_labels(labels, labels, labels, 2, evidence=np.arange(3.0)).auroc is None
    all_wrong = diagnose_labels(1 - labels, labels, labels, 2).to_dict()
    assert all_wrong["repaired"] == 1
    assert "broken" not in all_wrong


def test_values_are_plain():
    given, corrected, truth, evidence, confidence = case(3, modalities=2)
    found = diagnose_labels(given, corrected, truth, 5, evidence, confidence)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert all(type(value) is float for value in found.to_dict().values())
    assert json.loads(json.dumps(found.confusions())) == found.confusions()
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.repaired = 1.0


def test_confusion_keeps_classes_that_never_occur():
    found = diagnose_labels(np.array([3]), np.array([0]), np.array([0]), 4)
    assert found.given_to_corrected.tolist() == [[0] * 4] * 3 + [[1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": np.zeros(0, np.int64)}, "at least one pair"),
        ({"given": np.zeros((3, 3), np.int64)}, "one or two labels for each of 3 pairs"),
        ({"given": np.zeros(4, np.int64)}, "one or two labels for each of 3 pairs"),
        ({"given": np.zeros(3)}, "given must be int64"),
        ({"corrected": np.zeros(2, np.int64)}, "corrected must be int64 with a label for each of 3"),
        ({"truth": np.zeros((3, 1), np.int64)}, "truth must be int64"),
        ({"truth": np.array([0, 2, 1])}, r"truth must lie in 0..1 for 2 classes, got 0..2"),
        ({"given": np.array([0, -1, 1])}, r"given must lie in 0..1"),
        ({"evidence": np.zeros(2)}, "evidence must hold a finite number for each of 3 pairs"),
        ({"evidence": np.array([0, np.nan, 0])}, "with NaN or infinite ones"),
        ({"confidence": np.array([0, np.inf, 0])}, "confidence must hold a finite number"),
        ({"confidence": np.array([0, 1.5, 0])}, r"confidence must lie in 0..1, got 0.0..1.5"),
        ({"confidence": np.array([-0.5, 1, 0])}, r"confidence must lie in 0..1, got -0.5..1.0"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    labels = np.array([0, 1, 1])
    with pytest.raises(ValueError, match=message):
        diagnose_labels(**{"given": labels, "corrected": labels, "truth": labels, "n_classes": 2, **change})
