from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
import torch

from noise_injection import save_noise
from robustcmr.config.resolve import resolve
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import DataError
from robustcmr.evaluation.recall import retrieval_metrics
from robustcmr.evaluation.suggestions import best_other_images
from robustcmr.jobs.evaluate import evaluate_ensemble
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.pairs import PairsTrack
from robustcmr.types import Division, EpochPlan

CPU = torch.device("cpu")


def build(tree: dict[str, Any]) -> tuple[PairsTrack, list[Any]]:
    config = resolve(tree)
    track = PairsTrack.build(config)
    matchers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        matchers.append(config.matcher.cls(config.matcher.options, track.spec))
    return track, matchers


def scores(track: PairsTrack, matcher: Any, split: str) -> torch.Tensor:
    """All pairs at once, straight from the arrays."""
    opened = track.data.split(split)
    from robustcmr.data.captions import TokenTable
    from robustcmr.data.pairs import image_batches, text_batches

    images = next(image_batches(opened.features, 10_000))
    texts = next(text_batches(TokenTable.from_captions(opened.captions, track.reader), 10_000))
    matcher.eval()
    with torch.no_grad():
        return matcher(images, texts)


def assert_measures(found: dict[str, float], scores: torch.Tensor) -> None:
    """Measures of scores that may be off by the rounding of float32, by which near ties fall either way."""
    owner = np.arange(scores.shape[1]) // 5
    own = torch.from_numpy(np.arange(len(scores))[:, None] == owner)
    rounding = 4 * torch.finfo(torch.float32).eps / 0.05  # cosines over the smoothing of the plan
    ends = [retrieval_metrics(scores + sign * rounding * own, owner).to_dict() for sign in (-1, 1)]
    assert found.keys() == ends[0].keys()
    for name, value in found.items():
        low, high = sorted(end[name] for end in ends)
        assert low - 1e-9 <= value <= high + 1e-9, name
    assert ends[1]["rsum"] - ends[0]["rsum"] < 30  # or it says nothing


def test_spec_says_what_the_data_is(tiny_tree: dict[str, Any]) -> None:
    track, _ = build(tiny_tree)
    captions = track.data.split("train").captions
    words = {word for caption in captions for word in caption.split()}
    assert (track.spec.feature_width, track.spec.n_regions) == (8, 3)
    assert track.spec.vocabulary_size == len(words) + 4
    assert track.spec.longest_caption == max(len(caption.split()) for caption in captions) + 2


def test_evaluation_equals_a_direct_one(tiny_tree: dict[str, Any]) -> None:
    track, (matcher, _) = build({**tiny_tree, "evaluation": {"batch_size": 5, "block_mib": 1}})
    measured = track.evaluate([matcher], "dev", CPU)
    assert_measures(measured, scores(track, matcher, "dev"))
    assert track.selection_score(measured) == measured["rsum"]
    queries = track.measure(track.members([matcher], "dev"), "dev", CPU).queries
    np.testing.assert_array_equal(queries.pop("t2i_image"), np.arange(60) // 5)
    assert {name: len(ranks) for name, ranks in queries.items()} == {"i2t_rank": 12, "t2i_rank": 60}
    assert min(ranks.min() for ranks in queries.values()) == 1
    recalls = [100 * float((ranks <= k).mean()) for ranks in queries.values() for k in (1, 5, 10)]
    assert sum(recalls) == pytest.approx(measured["rsum"])


def test_ensemble_averages_scores_and_says_so(tiny_tree: dict[str, Any]) -> None:
    track, (a, b) = build(tiny_tree)
    result = evaluate_ensemble([(track, [a]), (track, [b])], "test", CPU)
    mean = (scores(track, a, "test") + scores(track, b, "test")) / 2
    assert_measures(result["metrics"], mean)
    assert result["n_models"] == 2
    assert len(result["by_model"]) == 2


def test_members_may_have_vocabularies_of_their_own(tiny_tree: dict[str, Any]) -> None:
    one, (a, _) = build(tiny_tree)
    other, (_, b) = build({**tiny_tree, "text": {"min_count": 60}})
    assert len(other.reader) < len(one.reader)
    result = evaluate_ensemble([(one, [a]), (other, [b])], "test", CPU)
    mean = (scores(one, a, "test") + scores(other, b, "test")) / 2
    assert_measures(result["metrics"], mean)


def test_folds_are_measured_apart(tiny_tree: dict[str, Any]) -> None:
    track, (matcher, _) = build(tiny_tree)
    result = evaluate_ensemble([(track, [matcher])], "test", CPU, folds=5)
    whole = scores(track, matcher, "test")
    assert len(result["by_fold"]) == 5
    for fold, i in zip(result["by_fold"], range(0, 10, 2), strict=True):
        assert_measures(fold, whole[i : i + 2, 5 * i : 5 * i + 10])
    assert result["metrics"]["rsum"] == pytest.approx(np.mean([fold["rsum"] for fold in result["by_fold"]]))


def test_saved_noise_and_vocabulary_are_used_again(
    tiny_tree: dict[str, Any], tmp_path: Path, data_folder: Path
) -> None:
    track, _ = build(tiny_tree)
    run = RunFolder(tmp_path / "run")
    track.save(run)
    changed = resolve({**tiny_tree, "noise": {"ratio": 0.1}, "text": {"min_count": 60}})
    again = PairsTrack.build(changed, run)
    assert again.noise == track.noise
    assert again.reader == track.reader
    np.testing.assert_array_equal(
        again.training.correspondence.image_of_caption, track.training.correspondence.image_of_caption
    )


def test_given_vocabulary_is_used(tiny_tree: dict[str, Any], tmp_path: Path) -> None:
    vocabulary = Vocabulary.build(["a picture"])
    vocabulary.save(tmp_path / "v.json")
    track, _ = build({**tiny_tree, "text": {"vocabulary": str(tmp_path / "v.json")}})
    assert track.spec.vocabulary_size == 6


def test_noise_options_reach_the_noise(tiny_tree: dict[str, Any], tmp_path: Path) -> None:
    noise = {"ratio": 0.5, "protocol": "image", "seed": 9, "derange": True}
    track, _ = build({**tiny_tree, "noise": noise})
    given = track.training.correspondence.image_of_caption.reshape(40, 5)
    assert (given == given[:, :1]).all()  # an image's captions moved together
    assert track.provenance()["noise_ratio_realised"] == 0.5
    record = track.provenance()["noise"]
    assert (record["protocol"], record["seed"], record["derange"]) == ("image", 9, True)
    np.save(tmp_path / "published.npy", track.training.correspondence.image_of_caption)
    other, _ = build({**tiny_tree, "noise": {"file": str(tmp_path / "published.npy")}})
    assert other.noise.index_sha256 == track.noise.index_sha256
    assert other.noise.protocol == "image"


def test_impossible_noise_is_told(tiny_tree: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        build(
            {**tiny_tree, "noise": {"ratio": 0.026, "protocol": "image", "derange": True}}
        )  # a single image


def test_splits_whose_numbers_do_not_fit_are_refused(tiny_tree, data_folder):
    dev = np.load(data_folder / "dev_ims.npy")
    np.save(data_folder / "dev_ims.npy", dev[:, :, :5])
    track, _ = build(tiny_tree)
    with pytest.raises(DataError, match="the dev split has 5 numbers a region and the train split 8"):
        track.members([], "dev")
    np.save(data_folder / "dev_ims.npy", dev)
    np.save(data_folder / "dev_txts.npy", np.ones((60, 4), np.float32))
    track, _ = build(tiny_tree)
    with pytest.raises(DataError, match="dev split has 4 numbers a caption vector and the train split none"):
        track.members([], "dev")


def test_caption_vectors_reach_training_and_evaluation(tiny_tree, data_folder):
    for split, n in (("train", 200), ("dev", 60), ("test", 50)):
        np.save(
            data_folder / f"{split}_txts.npy",
            np.arange(n, dtype=np.float32)[:, None] * np.ones(4, np.float32),
        )
    track, _ = build(tiny_tree)
    assert track.spec.text_width == 4
    assert track.training.batch(np.array([3, 9])).texts.vectors[:, 0].tolist() == [3, 9]
    (member,) = track.members([None], "dev")
    assert [float(batch.vectors[-1, 0]) for batch in member.text_batches()][-1] == 59
    vectors = np.ones((200, 4), np.float32)
    vectors[5, 1] = np.inf
    np.save(data_folder / "train_txts.npy", vectors)
    with pytest.raises(DataError, match="in 1 of 200 captions, first caption 5"):
        build(tiny_tree)


def test_words_by_index_are_told(tiny_tree):
    track, _ = build(tiny_tree)
    assert track.spec.words == track.reader.words
    assert track.spec.words[:4] == ("<pad>", "<start>", "<end>", "<unk>")
    assert track.spec.picture_size is None


@pytest.mark.parametrize(
    ("constants", "given", "images"),
    [
        ((2000, 20_000_000, 256), None, 40),  # all there are
        ((2000, 20_000_000, 256), 7, 7),
        ((30, 20_000_000, 2), None, 30),
        ((30, 200 * 12, 2), None, 12),  # 200 captions
        ((30, 200 * 12, 19), None, 19),
        ((30, 200 * 12, 2), 37, 37),
    ],
)
def test_images_that_a_table_suggests_from(
    tiny_tree: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    constants: tuple[int, int, int],
    given: int | None,
    images: int,
) -> None:
    from robustcmr.tracks import pairs_findings as pairs

    for name, value in zip(
        ("SUGGESTED_IMAGES", "SUGGESTED_PAIRS", "LEAST_SUGGESTED"), constants, strict=True
    ):
        monkeypatch.setattr(pairs, name, value)
    track, (matcher, _) = build({**tiny_tree, "evaluation": {"rematch_images": given}})
    assert track.data.split("train").n_images == 40
    all_clean = Division(
        clean_probability=np.ones(200),
        threshold=0.5,
        is_clean=np.ones(200, bool),
        evidence=np.zeros(200),
        bimodal=False,
        reason="none",
        noise_rate=None,
        noise_interval=None,
    )
    seen = []

    def noted(matcher: Any, candidates: Any, *rest: Any) -> Any:
        seen.append(len(candidates))
        return best_other_images(matcher, candidates, *rest)

    monkeypatch.setattr(pairs, "best_other_images", noted)
    with caplog.at_level("INFO", "robustcmr"):
        table = track.findings(all_clean, matcher, lambda *_: np.zeros(200, np.float32), CPU).table
    assert seen == [images]
    assert len(set(table.rematch.tolist())) <= images
    said = f"pairs.csv suggests from {images} of 40 training images; 'robustcmr rematch' searches all"
    assert (said in caplog.messages) == (images < 40)


def test_noise_of_earlier_versions_is_accepted_and_keeps_its_fingerprint(
    tiny_tree: dict[str, Any], tmp_path: Path
) -> None:
    track, _ = build(tiny_tree)
    current, older = track.data.known_fingerprints("train")
    assert track.provenance()["data_fingerprint"] == current != older
    assert track.provenance()["older_fingerprints"] == [older]
    run = RunFolder(tmp_path / "run")
    given = track.training.correspondence.image_of_caption
    save_noise(run.noise, given, dataclasses.replace(track.noise, data_fingerprint=older))
    again = PairsTrack.build(resolve(tiny_tree), run)
    assert again.provenance()["data_fingerprint"] == older
    np.testing.assert_array_equal(again.training.correspondence.image_of_caption, given)
    save_noise(run.noise, given, dataclasses.replace(track.noise, data_fingerprint="0" * 16))
    with pytest.raises(DataError, match=f"fingerprint {'0' * 16} and this data has {current}"):
        PairsTrack.build(resolve(tiny_tree), run)


def test_captions_in_rounds_train_as_captions_in_blocks(
    tiny_tree: dict[str, Any], data_folder: Path, tmp_path: Path
) -> None:
    blocks, _ = build({**tiny_tree, "noise": {"ratio": 0.0}})
    order = np.arange(200).reshape(40, 5).T.ravel()  # first captions of all images, then the second ones
    lines = np.array((data_folder / "train_caps.txt").read_text().splitlines())
    (data_folder / "train_caps.txt").write_text("\n".join(lines[order]))
    (data_folder / "train_ids.txt").write_text("\n".join(f"{row // 5}.jpg" for row in order))
    rounds, _ = build({**tiny_tree, "noise": {"ratio": 0.0}})
    for place, row in ((0, 0), (41, 6), (199, 199)):
        assert order[place] == row
        one, other = (track.training.batch(np.array([i])) for track, i in ((rounds, place), (blocks, row)))
        assert torch.equal(one.images.features, other.images.features)
        assert torch.equal(one.texts.tokens, other.texts.tokens)


def test_words_that_the_vocabulary_lacks_are_announced(
    tiny_tree: dict[str, Any], data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split, words in (
        ("train", "chat café n° {}"),
        ("dev", normalize("NFD", "chat café n° {}")),
        ("test", "cat {}"),
    ):
        path = data_folder / f"{split}_caps.txt"
        n = len(path.read_text().splitlines())
        path.write_text("".join(f"{words.format(i % 7)}\n" for i in range(n)), encoding="utf-8")
    track, _ = build(tiny_tree)
    track.read_captions(["train", "dev", "test", "dev"])
    (message,) = caplog.messages
    assert message.startswith(
        "test: the vocabulary knows only 50.0% of the words and at least 85% were expected"
    )
    assert message.endswith("with --set text.vocabulary=FILE")


def test_images_that_captions_are_given_are_compared_with_the_truth(tiny_tree: dict[str, Any]) -> None:
    """Right images for some of the captions that are moved; the others keep theirs and do not count."""
    track, _ = build({**tiny_tree, "noise": {"ratio": 0.4}})
    given, n = track.training.image_of_pair, len(track.training)
    right = np.arange(n) // 5
    wrong = np.flatnonzero(given != right)
    image_from = np.arange(n)
    pair_of = {image: pair for pair, image in enumerate(given.tolist())}
    found = [row for row in wrong.tolist() if int(right[row]) in pair_of]
    half = found[: len(found) // 2]
    image_from[half] = [pair_of[int(right[row])] for row in half]
    others = [row for row in wrong.tolist() if row not in half]
    image_from[others] = [next(p for p in range(n) if given[p] not in (given[r], right[r])) for r in others]
    scores = track.epoch_scores()
    scores.begin(EpochPlan({}, image_from=image_from))
    quality = scores.metrics()["rematch"]
    assert quality["plan"] == pytest.approx(len(half) / len(wrong))
    assert quality["chance"] == pytest.approx(1 / (len(np.unique(right)) - 1))
    scores.begin(EpochPlan({}, image_from=np.arange(n)))
    assert scores.metrics()["rematch"] == {}
