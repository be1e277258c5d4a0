"""The labels track: what training gets, how splits are measured, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from noise_injection import make_label_noise, save_label_noise
from robustcmr import plugins
from robustcmr.config.resolve import resolve
from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.base import LabelledSplit
from robustcmr.data.labelled import Labelled
from robustcmr.errors import ConfigError, DataError, PluginError
from robustcmr.evaluation.label_diagnosis import diagnose_labels
from robustcmr.evaluation.mean_average_precision import label_retrieval_metrics
from robustcmr.jobs.evaluate import evaluate_ensemble
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.build import build_track
from robustcmr.tracks.labels import LabelsTrack
from robustcmr.types import Division, LabelEstimate

CPU = torch.device("cpu")


class Told(Labelled):
    """Labelled vectors whose texts are known: two words that say the class and the row."""

    without: tuple[str, ...] = ()

    def split(self, name):
        found = super().split(name)
        words = tuple(f"class{label} row{i % 7}" for i, label in enumerate(found.labels))
        captions = None if name in self.without else words
        return LabelledSplit(
            *(name, found.images, found.texts, found.labels, found.class_names), captions=captions
        )


@pytest.fixture
def tree(labelled_folder, monkeypatch):
    monkeypatch.setitem(plugins.datasets._registered, "told", Told)
    return {
        "data": {"name": "labelled", "root": str(labelled_folder)},
        "matcher": {"name": "two_tower", "dim": 8, "hidden": [12]},
        "method": {"name": "label_ce"},
        "noise": {"ratio": 0.4},
    }


def build(tree, seeds=(0, 1)):
    config = resolve(tree)
    track = build_track(config)
    matchers = []
    for seed in seeds:
        torch.manual_seed(seed)
        matchers.append(config.matcher.cls(config.matcher.options, track.spec))
    return track, matchers


def close(measured):
    """Measures as numbers to be met up to rounding."""
    return {key: pytest.approx(value) for key, value in measured.items()}


def true_labels(root, split="train"):
    with np.load(root / f"{split}.npz") as file:
        return file["label"].astype(np.int64)


def cosines(track, matcher, split):
    opened = track.data.split(split)
    rows = np.arange(len(opened))
    images = torch.from_numpy(opened.images.take(rows)[:, 0])
    texts = torch.from_numpy(opened.texts.take(rows)[:, 0])
    matcher.eval()
    with torch.no_grad():
        sides = matcher.image_tower(images), matcher.text_tower(texts)
    return F.normalize(sides[0], dim=1) @ F.normalize(sides[1], dim=1).T


def test_training_gets_the_labels_as_given(tree, labelled_folder):
    track, matchers = build(tree)
    truth = true_labels(labelled_folder)
    expected, record = make_label_noise(truth, 4, 0.4, "symmetric", 0)
    assert isinstance(track, LabelsTrack)
    np.testing.assert_array_equal(track.training.labels, expected)
    told = track.provenance()
    assert (told["track"], told["training_pairs"], told["n_classes"]) == ("labels", 60, 4)
    assert (told["noise_kind"], told["protocol"]) == ("symmetric", "shared")
    assert (told["noise_ratio"], told["noise_ratio_realised"]) == (0.4, (expected[:, 0] != truth).mean())
    assert told["noise_hash"] == record.labels_sha256 == told["noise"]["labels_sha256"]
    assert told["data_fingerprint"] == track.data.fingerprint("train") == told["noise"]["data_fingerprint"]
    assert track.method_arguments(matchers, CPU) == (4, 8)


def test_the_spec_says_what_the_data_is(tree):
    track, _ = build(tree)
    spec = track.spec
    assert (spec.feature_width, spec.n_regions, spec.text_width) == (10, 1, 6)
    assert (spec.vocabulary_size, spec.longest_caption, spec.padding_index, spec.words) == (1, 1, 0, ())
    track, _ = build({**tree, "data": {**tree["data"], "name": "told"}})
    assert track.spec.vocabulary_size == 4 + 7 + 4
    assert (track.spec.longest_caption, track.spec.text_width) == (4, 6)
    batch = track.training.batch(np.array([3]))
    assert [track.spec.words[i] for i in batch.texts.tokens[0].tolist()][1:3] == track.data.split(
        "train"
    ).captions[3].split()


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "instance"])
@pytest.mark.parametrize("protocol", ["shared", "per_modality"])
def test_noise_options_reach_the_noise(tree, labelled_folder, kind, protocol):
    noise = {"ratio": 0.3, "kind": kind, "protocol": protocol, "seed": 9}
    more = {"symmetric": {"redraw_true": True}, "asymmetric": {"class_map": [2, 3, 0, 0]}}.get(kind, {})
    data = {**tree["data"], "standardise": "none"}
    track, _ = build({**tree, "data": data, "noise": {**noise, **more}})
    with np.load(labelled_folder / "train.npz") as file:
        images, texts, truth = file["image"], file["text"], file["label"].astype(np.int64)
    features = None
    if kind == "instance":
        features = (images, texts) if protocol == "per_modality" else images
    expected, _ = make_label_noise(
        *(truth, 4, 0.3, kind, 9), per_modality=protocol == "per_modality", features=features, **more
    )
    np.testing.assert_array_equal(track.training.labels, expected)
    assert track.training.labels.shape[1] == (2 if protocol == "per_modality" else 1)
    assert track.provenance()["noise_ratio_realised"] == (expected != truth[:, None]).mean()
    assert track.provenance()["noise_kind"] == kind


def test_saved_noise_and_vocabulary_are_used_again(tree, tmp_path):
    told = {**tree, "data": {**tree["data"], "name": "told"}}
    track, _ = build(told)
    run = RunFolder(tmp_path / "run")
    track.save(run)
    again = LabelsTrack.build(resolve({**told, "noise": {"ratio": 0.1}, "text": {"min_count": 60}}), run)
    assert again.noise == track.noise
    assert again.reader == track.reader
    np.testing.assert_array_equal(again.training.labels, track.training.labels)
    other, _ = build({**tree, "noise": {"file": str(run.noise)}})
    np.testing.assert_array_equal(other.training.labels, track.training.labels)
    plain = RunFolder(tmp_path / "plain")
    build(tree)[0].save(plain)
    assert (plain.noise.exists(), plain.vocabulary.exists()) == (True, False)


def test_noise_that_cannot_be_is_told(tree, labelled_folder, make_labelled_folder, tmp_path):
    with pytest.raises(DataError, match="class"):
        build({**tree, "noise": {"ratio": 0.4, "kind": "asymmetric", "class_map": [1, 2]}})
    run = RunFolder(tmp_path / "run")
    build(tree)[0].save(run)
    other = make_labelled_folder(tmp_path / "other", {"train": 60, "dev": 20}, seed=1)
    with pytest.raises(DataError, match="was made for data with fingerprint"):
        build({**tree, "data": {"name": "labelled", "root": str(other)}, "noise": {"file": str(run.noise)}})


def test_evaluation_equals_a_direct_one(tree, labelled_folder):
    track, (matcher, _) = build({**tree, "evaluation": {"batch_size": 7, "map_at": [3, 50]}})
    asked = []
    measured = track.evaluate([matcher], "dev", CPU, after_block=lambda: asked.append(1))
    labels = true_labels(labelled_folder, "dev")
    direct = of_matrix(cosines(track, matcher, "dev"), labels, (3, 50))
    assert measured == close(direct.to_dict())
    assert measured["scopes"] == [1, 5, 10, 20]
    assert track.selection_score(measured) == measured["map"]
    assert len(asked) >= 2 * 3
    queries = track.measure(track.members([matcher], "dev"), "dev", CPU).queries
    np.testing.assert_allclose(queries["i2t_ap"], direct.ap_i2t, rtol=1e-5)
    np.testing.assert_allclose(queries["t2i_ap"], direct.ap_t2i, rtol=1e-5)


def of_matrix(scores, labels, at=(50,)):
    return label_retrieval_metrics(
        lambda rows: scores[rows], lambda rows: scores[:, rows].T, labels, labels, at, (1, 5, 10, 20)
    )


def test_ensemble_averages_cosines_and_says_so(tree, labelled_folder):
    track, (a, b) = build(tree)
    other, (c,) = build({**tree, "matcher": {"name": "two_tower", "dim": 5, "hidden": []}}, seeds=(2,))
    result = evaluate_ensemble([(track, [a, b]), (other, [c])], "test", CPU)
    labels = true_labels(labelled_folder, "test")
    mean = (cosines(track, a, "test") + cosines(track, b, "test") + cosines(other, c, "test")) / 3
    direct = of_matrix(mean, labels)
    assert result["metrics"] == close(direct.to_dict())
    assert (result["n_models"], result["track"], result["folds"]) == (3, "labels", None)
    assert [found["map"] for found in result["by_model"]] == pytest.approx(
        [t.evaluate([m], "test", CPU)["map"] for t, m in ((track, a), (track, b), (other, c))]
    )
    assert result["by_model"][0]["map"] != result["metrics"]["map"]


def test_folds_and_mixtures_are_refused(tree, tiny_tree, make_labelled_folder, tmp_path):
    track, (matcher, _) = build(tree)
    with pytest.raises(ConfigError, match="leave --fold5 out"):
        evaluate_ensemble([(track, [matcher])], "test", CPU, folds=5)
    pairs = build_track(resolve(tiny_tree))
    with pytest.raises(DataError, match="different tracks, labels and pairs"):
        evaluate_ensemble([(track, [matcher]), (pairs, [])], "test", CPU)
    folder = make_labelled_folder(tmp_path / "other", seed=1)
    other, (second, _) = build({**tree, "data": {"name": "labelled", "root": str(folder)}})
    with pytest.raises(DataError, match="different data: their test splits"):
        evaluate_ensemble([(track, [matcher]), (other, [second])], "test", CPU)


def belief(n=60):
    rng = np.random.default_rng(1)
    return LabelEstimate(rng.integers(0, 4, n), rng.random(n), rng.normal(size=n))


def test_beliefs_are_held_against_the_truth(tree, labelled_folder):
    track, _ = build(tree)
    held = belief()
    judged = track.diagnose(held)
    direct = diagnose_labels(
        *(track.training.labels, held.corrected, true_labels(labelled_folder), 4),
        *(held.evidence, held.confidence),
    )
    assert judged == {"correction": direct.to_dict(), "confusion": direct.confusions()}
    assert np.sum(judged["confusion"]["given_to_truth"]) == 60
    untrusted, _ = build({**tree, "data": {**tree["data"], "trusted": False}})
    assert untrusted.diagnose(held) == {}


def test_no_matrices_of_many_classes(tree, make_labelled_folder, tmp_path):
    folder = make_labelled_folder(tmp_path / "many", {"train": 102, "dev": 51}, n_classes=51)
    track, _ = build({**tree, "data": {"name": "labelled", "root": str(folder)}})
    assert track.diagnose(belief(102)).keys() == {"correction"}


def test_estimates_of_another_track_are_refused(tree, tiny_tree):
    division = Division(np.ones(60), 0.5, np.ones(60, bool), np.zeros(60), False, "", None, None)
    with pytest.raises(PluginError, match="a Division on the labels track; return a LabelEstimate"):
        build(tree)[0].diagnose(division)
    with pytest.raises(PluginError, match="a LabelEstimate on the pairs track; return a Division"):
        build_track(resolve(tiny_tree)).diagnose(belief())


def test_numbers_that_are_none_are_told(tree, monkeypatch):
    class Damaged(Labelled):
        def split(self, name):
            found, bad = super().split(name), np.ones((60, 6), np.float32)
            bad[7, 2] = np.nan
            return replace(found, texts=ArrayFeatures(bad)) if name == "train" else found

    monkeypatch.setitem(plugins.datasets._registered, "damaged", Damaged)
    with pytest.raises(DataError, match=r"NaN or infinite numbers in 1 of 60 texts, first text 7; repair"):
        build({**tree, "data": {**tree["data"], "name": "damaged"}})


def test_widths_are_checked_where_the_data_does_not(tree, monkeypatch):
    track, _ = build(tree)
    train = track.data.split("train")
    for images, texts, sentence in (
        (train.texts, train.texts, "the dev split has 6 numbers an image and the train split 10"),
        (train.images, train.images, "the dev split has 10 numbers a text and the train split 6"),
    ):
        split = LabelledSplit("dev", images, texts, train.labels, train.class_names)
        monkeypatch.setattr(track.data, "split", lambda name, split=split: split)
        with pytest.raises(DataError, match=sentence):
            track.members([], "dev")


def test_captions_must_be_in_all_splits(tree, monkeypatch):
    monkeypatch.setattr(Told, "without", ("dev",))
    track, (matcher, _) = build({**tree, "data": {**tree["data"], "name": "told"}})
    with pytest.raises(DataError, match="the train split has captions and the dev split has none"):
        track.evaluate([matcher], "dev", CPU)
    assert math.isfinite(track.evaluate([matcher], "test", CPU)["map"])


def test_what_the_data_cannot_give_is_refused(tree, clip_folder, bert_folder, tmp_path):
    clip = {**tree, "matcher": {"name": "clip", "weights": str(clip_folder)}}
    with pytest.raises(DataError, match=r"clip reads pictures .* labelled gives one vector an image"):
        build(clip)
    bert = {"name": "vse_infty", "text_encoder": "bert", "text_weights": str(bert_folder)}
    with pytest.raises(DataError, match=r"vse_infty reads captions by the tokenizer .* only vectors"):
        build({**tree, "matcher": bert})
    with pytest.raises(ConfigError, match=r"text\.vocabulary is set, but labelled has no captions"):
        build({**tree, "text": {"vocabulary": str(tmp_path / "v.json")}})


def test_a_pretrained_tokenizer_reads_captions(tree, bert_folder):
    bert = {"name": "vse_infty", "dim": 8, "text_encoder": "bert", "text_weights": str(bert_folder)}
    track, (matcher, _) = build({**tree, "data": {**tree["data"], "name": "told"}, "matcher": bert})
    assert track.spec.words == ()
    assert track.method_arguments([matcher], CPU) == (4, 8)


def test_noise_of_earlier_versions_is_accepted(tree, tmp_path):
    track, _ = build(tree)
    current, older = track.data.known_fingerprints("train")
    assert track.provenance()["older_fingerprints"] == [older] != [current]
    run = RunFolder(tmp_path / "run")
    save_label_noise(run.noise, track.training.labels, replace(track.noise, data_fingerprint=older))
    assert LabelsTrack.build(resolve(tree), run).provenance()["data_fingerprint"] == older
