"""Sentences on finished runs, as the terminal, pages and model cards give them."""

from __future__ import annotations

import pytest

from robustcmr.reporting.sentences import (
    findings_sentences,
    measured_sentences,
    models_sentence,
    noise_sentence,
    retrieval_sentence,
)

RESULTS = {
    **{"data": "scenes", "matcher": "omit", "method": "hinge", "seed": 3, "track": "pairs", "n_models": 1},
    **{"training_pairs": 7500, "noise_kind": "mismatch", "protocol": "caption", "noise_ratio": 0.4},
    **{"noise_ratio_realised": 0.3987, "noise_hash": "0123456789abcdef", "best_epoch": 9},
    "splits": {"test": {"i2t_r1": 44.04, "t2i_r1": 28.0, "n_images": 500, "n_captions": 2500}},
}
LABELLED = {**RESULTS, "track": "labels", "noise_kind": "symmetric", "protocol": "shared"}
FOUND = {"suspected": 0.371, "noise_rate": 0.352, "noise_interval": [0.301, 0.4], "reason": "two groups"}


def test_models_and_noise():
    assert models_sentence(RESULTS) == (
        "omit trained by hinge on scenes (one model, seed 3); 39.9% of the 7,500 training pairs "
        "are mismatched "
        "(40.0% requested, caption protocol, noise 0123456789ab)"
    )
    ensemble = models_sentence({**RESULTS, "n_models": 2, "noise_ratio_realised": 0.0})
    assert "(an ensemble of 2 models, seed 3); no noise was added to the 7,500 pairs" in ensemble
    assert "mismatched (caption protocol" in noise_sentence({**RESULTS, "noise_ratio": None})
    swapped = noise_sentence({**RESULTS, "noise_kind": "swap"})
    assert "(40.0% requested, kind swap, caption protocol" in swapped


def test_noise_of_labels():
    assert noise_sentence(LABELLED) == (
        "39.9% of the 7,500 training labels are wrong (40.0% requested, symmetric, shared by image and text, "
        "noise 0123456789ab)"
    )
    both = noise_sentence({**LABELLED, "protocol": "per_modality", "noise_kind": "instance"})
    assert "39.9% of the 15,000 training labels are wrong" in both
    assert "instance, drawn for each modality" in both
    assert noise_sentence({**LABELLED, "noise_ratio_realised": 0.0}).endswith("to the 7,500 labels")


def test_retrieval_both_ways():
    assert retrieval_sentence(RESULTS, "test") == (
        "Of the 500 test images, 44.0% rank one of their captions first; of the 2,500 captions, "
        "28.0% rank their "
        "image first, by the model of epoch 9."
    )
    labelled = {**LABELLED, "splits": {"test": {"map": 36.3, "map_i2t": 36.5, "map_t2i": 36.1}}}
    assert "is 36.5% from image to text and 36.1% from text to image" in retrieval_sentence(labelled, "test")


def test_measures_of_pairs_that_nobody_checked_are_for_comparison():
    known = {**RESULTS, "epochs": 12, "selection_split": "dev"}
    assert measured_sentences(known) == ["Epoch 9 of 12 was best on dev and is measured here."]
    assert measured_sentences({**known, "truth_known": True}) == measured_sentences(known)
    _, said = measured_sentences({**known, "truth_known": False})
    assert said.startswith("It is not known whether the measured pairs are right")


def test_a_noise_rate_of_several_divisions_has_no_interval():
    found = {**RESULTS, "findings": {**FOUND, "noise_interval": None}}
    assert findings_sentences(found) == [
        "37.1% of the training pairs look wrong; the estimated share of wrong pairs is 35.2%, by the model "
        "of epoch 9."
    ]


def test_findings_of_pairs():
    first, second = findings_sentences(
        {
            **RESULTS,
            "findings": {
                **FOUND,
                "division": {"precision": 0.9, "recall": 0.8, "noise_rate_true": 0.4},
            },
        }
    )
    assert first == (
        "37.1% of the training pairs look wrong; the estimated share of wrong pairs is 35.2% (95% "
        "interval 30.1% "
        "to 40.0%), by the model of epoch 9."
    )
    assert second == (
        "In truth 40.0% are wrong; 90.0% of the suspects are wrong (precision) and 80.0% of the "
        "wrong pairs are "
        "suspected (recall), by the model of epoch 9."
    )
    assert findings_sentences({**RESULTS, "findings": FOUND}) == [first]
    none = {"suspected": 0.0, "noise_rate": None, "reason": "one group"}
    assert findings_sentences({**RESULTS, "findings": none}) == [
        "No training pair looks wrong, by the model of epoch 9: one group."
    ]
    early = {"suspected": 0.9, "noise_rate": None, "noise_interval": None, "reason": "too few epochs"}
    assert findings_sentences({**RESULTS, "findings": early}) == [
        "90.0% of the training pairs look wrong, by the model of epoch 9. How many are wrong is not "
        "estimated: too few epochs."
    ]
    assert findings_sentences(RESULTS) == []


@pytest.mark.parametrize("known", [True, False])
def test_findings_of_labels(known):
    judged = {"correction": {"given_accuracy": 0.4, "corrected_accuracy": 0.688}} if known else {}
    found = findings_sentences({**LABELLED, "findings": {"changed": 0.477, **judged}})
    assert found[0] == (
        "47.7% of the training pairs look mislabelled and got another class, by the model of epoch 9."
    )
    assert ("40.0% of the given labels and 68.8% of the corrected labels" in found[-1]) == known
