"""A trained run from Python: its numbers are those of the evaluation, and it needs no training data."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import robustcmr
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import DataError, RunFolderError
from robustcmr.evaluation.scoring import encode_split, score_matrix
from robustcmr.jobs.open import open_run
from robustcmr.runs.inputs import RunInputs


@pytest.fixture(scope="module")
def omit(omit_run):
    return robustcmr.load(omit_run, device="cpu", batch_size=7)


@pytest.fixture(scope="module")
def vectors(vector_run):
    return robustcmr.load(vector_run, device="cpu", batch_size=7)


def reference(path, split="test"):
    """Scores of a split by the evaluation's own path, and the split."""
    run = open_run(path, device="cpu")
    matrices = [
        score_matrix(m.matcher, *encode_split(m.matcher, m.image_batches(), m.text_batches(), run.device))
        for m in run.track.members(run.matchers, split)
    ]
    return torch.stack(matrices).mean(0).numpy(), run.track.data.split(split)


def assert_best(hits, expected, k):
    """The k best of some scores, best first; equal ones in any order."""
    assert [hit.rank for hit in hits] == list(range(1, k + 1))
    found = [hit.score for hit in hits]
    np.testing.assert_allclose(found, np.sort(expected)[::-1][:k], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, expected[[hit.index for hit in hits]], rtol=1e-4, atol=1e-5)
    assert len({hit.index for hit in hits}) == k


@pytest.mark.parametrize("name", ["omit", "vectors"])
def test_scores_are_those_of_the_evaluation(name, request):
    run = request.getfixturevalue(name)
    expected, split = reference(run.path)
    features = split.features.take(np.arange(split.n_images))
    found = run.score(features, split.captions)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    images, texts = run.embed_images(features), run.embed_texts(list(split.captions))
    np.testing.assert_allclose(run.score(images, texts), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("matcher", "by_vectors"), [("vse_infty", True), ("scan", False), ("saf", False)])
def test_every_matcher_is_told_by_its_scores(matcher, by_vectors, make_small_run, small_data, tmp_path):
    path = make_small_run(
        tmp_path / "run", small_data, matcher={"name": matcher, "dim": 8}, method={"name": "infonce"}
    )
    run = robustcmr.load(path, device="cpu")
    expected, split = reference(path)
    features = split.features.take(np.arange(10))
    np.testing.assert_allclose(run.score(features, split.captions), expected, rtol=1e-3, atol=1e-5)
    hits = run.search(split.captions[0], k=10)
    assert_best(hits, expected[:, 0], 10)
    assert hits.search == ("vectors" if by_vectors else "all")


def test_products_of_vectors_are_the_scores_only_where_the_matcher_says_so(omit, vectors):
    for run, same in ((vectors, True), (omit, False)):
        expected, split = reference(run.path)
        images = run.embed_images(split.features.take(np.arange(10)))
        texts = run.embed_texts(split.captions)
        assert np.allclose(images.vectors @ texts.vectors.T, expected, atol=1e-4) == same
        assert (images.fragments is None) == same


@pytest.mark.parametrize("name", ["omit", "vectors"])
def test_search_returns_the_best_of_the_test_split(name, request):
    run = request.getfixturevalue(name)
    expected, split = reference(run.path)
    hits = run.search(split.captions[3], k=4)
    assert_best(hits, expected[:, 3], 4)
    assert hits[0].captions == tuple(np.array(split.captions)[split.image_of_caption == hits[0].index])
    assert [hit.name for hit in hits] == [f"image {hit.index}" for hit in hits]
    found = run.search(image=split.features.take(np.array([2])), k=50)
    assert_best(found, expected[2], 50)
    assert found[0].captions == (split.captions[found[0].index],)
    assert found[0].name == f"image {split.image_of_caption[found[0].index]}"
    dev = run.search(split.captions[3], k=100, split="dev")
    assert (len(dev), dev.searched) == (12, 12)


def test_a_shortlist_is_scored_exactly(omit):
    expected, split = reference(omit.path)
    whole = omit.search(split.captions[0], k=2)
    assert whole.search == "all"
    short = omit.search(split.captions[0], k=2, shortlist=4)
    assert short.search == "shortlist"
    for hit in short:
        assert hit.score == pytest.approx(expected[hit.index, 0], rel=1e-4)
    nearest = (
        omit.embed_images(split.features.take(np.arange(10))).vectors
        @ omit.embed_texts(split.captions[0]).vectors[0]
    )
    assert {hit.index for hit in short} <= set(np.argsort(-nearest)[:4].tolist())


def test_what_to_search_can_be_given(omit):
    _, split = reference(omit.path)
    among = ["a picture of thing1", "a picture of thing2 and thing3", "thing5"]
    hits = omit.search(image=split.features.take(np.array([1])), among=among, k=2)
    assert all(hit.captions[0] in among and hit.name == "" for hit in hits)
    features = split.features.take(np.arange(6))
    hits = omit.search("thing1", among=features)
    assert (len(hits), hits.searched, hits[0].captions) == (6, 6, ())
    assert omit.search("thing1 beside a zebra", among=omit.embed_images(features)).unknown_words == (
        "beside",
        "zebra",
    )


def test_an_ensemble_scores_by_the_mean(make_small_run, two_matchers, small_data, tmp_path):
    for matcher in ({"name": "embeddings", "dim": 8}, {"name": "omit", "dim": 8, "backend": "tensors"}):
        method = {"name": two_matchers}
        path = make_small_run(tmp_path / matcher["name"], small_data, matcher=matcher, method=method)
        run = robustcmr.load(path, device="cpu")
        expected, split = reference(path)
        features = split.features.take(np.arange(split.n_images))
        np.testing.assert_allclose(run.score(features, split.captions), expected, rtol=1e-4, atol=1e-5)
        assert_best(run.search(split.captions[0], k=3), expected[:, 0], 3)


def test_results_have_attributes(omit, omit_run):
    plain = json.loads((omit_run / "results.json").read_text())
    results = omit.results
    assert results.rsum == plain["splits"]["test"]["rsum"]
    assert results.splits.dev.rsum == plain["splits"]["dev"]["rsum"]
    assert (results["seed"], results.seed, results.method) == (0, 0, "robust")
    assert {"rsum", "splits", "findings"} <= set(dir(results))
    assert not hasattr(results, "map_i2t")
    with pytest.raises(robustcmr.UserError, match="no 'rsumm' here; did you mean 'rsum'"):
        _ = results.rsumm
    assert "rSum" in repr(results)
    assert "i2t R@1" in results._repr_html_()
    assert pickle.loads(pickle.dumps(results)).rsum == results.rsum


def test_estimates_and_report(omit, tmp_path):
    pairs = omit.pairs
    assert isinstance(pairs.clean_probability, np.ndarray)
    assert len(pairs) == 200
    suspects = omit.suspects(3)
    worst = pairs.clean_probability[~pairs.is_clean].min() if (~pairs.is_clean).any() else None
    assert len(suspects) <= 3
    if worst is not None:
        assert suspects[0]["clean_probability"] == pytest.approx(worst, rel=1e-5)
    assert "suspects" in suspects._repr_html_()
    page = omit.report(tmp_path / "page.html", gallery=2, model=False)
    assert page == tmp_path / "page.html"
    assert page.stat().st_size > 1000
    assert omit.config["matcher"]["name"] == "omit"
    with pytest.raises(RunFolderError, match="corrects no labels"):
        _ = omit.labels


def test_labels(labels_run):
    run = robustcmr.load(labels_run, device="cpu")
    assert len(run.labels) == 60
    assert run.results.map == run.results.splits.test.map
    suspects = run.suspects(2)
    assert len(suspects) <= 2
    assert "suspects" in suspects._repr_html_()
    with pytest.raises(RunFolderError, match="corrects labels, expected a run that suspects pairs"):
        _ = run.pairs


def test_vectors_are_prepared_as_in_training(labels_run):
    """Raw vectors of the file give the scores of the prepared split; the gallery is not prepared twice."""
    run = robustcmr.load(labels_run, device="cpu")
    root = Path(run.config["data"]["root"])
    raw = np.load(root / "test.npz")
    opened = open_run(labels_run, device="cpu")
    (member,) = opened.track.members(opened.matchers, "test")
    sides = encode_split(member.matcher, member.image_batches(), member.text_batches(), opened.device)
    expected = score_matrix(member.matcher, *sides).numpy()
    np.testing.assert_allclose(run.score(raw["image"], raw["text"]), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.score(raw["image"][:, None], raw["text"]), expected, rtol=1e-4, atol=1e-5)
    hits = run.search(raw["text"][:1], k=24)
    assert_best(hits, expected[:, 0], 24)


@pytest.mark.parametrize("texts", ["vectors", "words"])
def test_captions_with_vectors_are_read_by_one_of_them(texts, make_folder, make_small_run, tmp_path):
    root, rng = make_folder(tmp_path / "data"), np.random.default_rng(0)
    for split, n in (("train", 200), ("dev", 60), ("test", 50)):
        np.save(root / f"{split}_txts.npy", rng.normal(size=(n, 4)).astype(np.float32))
    matcher = {"name": "embeddings", "dim": 8, "texts": texts}
    path = make_small_run(tmp_path / "run", root, matcher=matcher, method={"name": "infonce"})
    run = robustcmr.load(path, device="cpu")
    expected, split = reference(path)
    features, vectors = split.features.take(np.arange(10)), np.load(root / "test_txts.npy")
    right, wrong = (vectors, split.captions) if texts == "vectors" else (split.captions, vectors)
    np.testing.assert_allclose(run.score(features, right), expected, rtol=1e-4, atol=1e-5)
    assert_best(run.search(right[:1], k=10), expected[:, 0], 10)
    kind = (
        "are text, and this run reads a vector" if texts == "vectors" else "are vectors, and this run reads"
    )
    with pytest.raises(robustcmr.UserError, match=f"the captions {kind}"):
        run.score(features, wrong)


def test_pictures(clip_run, pictures, tmp_path):
    from PIL import Image

    run = robustcmr.load(clip_run, device="cpu", batch_size=4)
    expected, split = reference(clip_run)
    paths = [pictures / "images" / name for name in split.image_names]
    opened = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in opened]
    for given in (paths, opened, arrays, np.stack(arrays), iter(paths)):
        np.testing.assert_allclose(run.score(given, split.captions), expected, rtol=1e-4, atol=1e-5)
    folder = run.embed_images(pictures / "images")
    assert len(folder) == 52
    assert folder.names[0] == "dev0.png"
    link = tmp_path / "pictures"
    link.mkdir()
    (link / "linked.png").symlink_to(paths[0])
    with pytest.raises(DataError, match=r"is a link to .* outside the pictures folder"):
        run.embed_images(link)
    np.testing.assert_array_equal(  # a file that is named itself may be a link
        run.embed_images(link / "linked.png").vectors, run.embed_images(paths[0]).vectors
    )
    hits = run.search("a red circle number 1", k=3)
    assert hits[0].name in split.image_names
    assert hits._repr_html_().count('src="data:image/webp') == 3
    hits = run.search(image=paths[0], k=2)
    assert hits.query == str(paths[0])
    assert hits._repr_html_().count('src="data:image/webp') == 3  # the query and two answers


@pytest.mark.parametrize("name", ["omit_run", "vector_run", "labels_run", "clip_run"])
def test_inference_needs_no_training_data(name, request, tmp_path, monkeypatch):
    """A copied folder, whose data is gone, embeds; only a split of the data cannot be searched."""
    from robustcmr.data.images import Images
    from robustcmr.data.labelled import Labelled
    from robustcmr.data.precomp import Precomputed

    path = tmp_path / "copy"
    shutil.copytree(request.getfixturevalue(name), path)
    for data in (Images, Labelled, Precomputed):

        def gone(*_):
            raise DataError("the data folder is gone")

        monkeypatch.setattr(data, "__init__", gone)
    run = robustcmr.load(path, device="cpu")
    inputs = RunInputs.read(path / "inputs.json")
    if name == "clip_run":
        images = [np.zeros((20, 20, 3), np.uint8)] * 2
    else:
        images = np.ones((2, inputs.spec.n_regions, inputs.spec.feature_width), np.float32)
    texts = np.ones((3, 6), np.float32) if name == "labels_run" else ["thing1", "two", "a red circle"]
    assert run.score(images, texts).shape == (2, 3)
    assert len(run.search(texts[:1] if name == "labels_run" else texts[0], among=images)) == 2
    with pytest.raises(DataError, match=r"test split of the run's data: .* gone; choose another split"):
        run.search(texts[:1] if name == "labels_run" else texts[0])


def test_a_run_of_an_older_version_opens_beside_its_data(vector_run, tmp_path, monkeypatch):
    path = tmp_path / "old"
    shutil.copytree(vector_run, path)
    (path / "inputs.json").unlink()
    expected = robustcmr.load(vector_run, device="cpu").embed_texts("thing1").vectors
    np.testing.assert_array_equal(robustcmr.load(path, device="cpu").embed_texts("thing1").vectors, expected)
    config = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(config.replace("/data", "/gone"))
    with pytest.raises(
        RunFolderError, match=r"no inputs.json, which version 0.1 did not write.*does not exist"
    ):
        robustcmr.load(path, device="cpu").embed_texts("thing1")


def test_a_missing_vocabulary_is_told(vector_run, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(vector_run, path)
    assert Vocabulary.load(path / "vocabulary.json")
    (path / "vocabulary.json").unlink()
    with pytest.raises(RunFolderError, match=r"vocabulary.json is missing; copy it"):
        robustcmr.load(path, device="cpu").embed_texts("thing1")


def test_a_closed_run_frees_its_model(vector_run):
    with robustcmr.load(vector_run, device="cpu") as run:
        run.embed_texts("thing1")
        assert repr(run) == f"<TrainedRun {vector_run}>"
        assert "vectors" in run._repr_html_()
    with pytest.raises(RunFolderError, match=r"is closed; open it again with robustcmr.load\("):
        run.embed_texts("thing1")
    assert "closed" in repr(run)
    assert "closed" in run._repr_html_()


def test_what_the_model_cannot_take_is_told(vector_run, monkeypatch):
    from robustcmr.errors import DeviceError
    from robustcmr.jobs import model

    run = robustcmr.load(vector_run, device="cpu", batch_size=4)
    run.embed_texts("thing1")

    def failing(error):
        def encode(*_):
            raise error

        return encode

    monkeypatch.setattr(model, "encode_images", failing(RuntimeError("shape '[2, 3]' is invalid")))
    with pytest.raises(DataError, match="cannot read images of 2 regions; expected 3, as in training"):
        run.embed_images(np.ones((1, 2, 8)))
    with pytest.raises(RuntimeError, match="is invalid"):  # a bug of the matcher
        run.embed_images(np.ones((1, 3, 8)))
    monkeypatch.setattr(model, "encode_texts", failing(torch.OutOfMemoryError("17 GiB")))
    with pytest.raises(DeviceError, match="too little memory for 2 items at once; lower batch_size"):
        run.embed_texts(["a", "b"])


def test_diverged_weights_are_told(vector_run, tmp_path):
    import safetensors.torch

    path = tmp_path / "copy"
    shutil.copytree(vector_run, path)
    (file,) = (path / "checkpoints" / "best").glob("*.safetensors")
    weights = safetensors.torch.load_file(file)
    safetensors.torch.save_file({key: value * float("nan") for key, value in weights.items()}, file)
    with pytest.raises(DataError, match="gives NaN or infinite numbers"):
        robustcmr.load(path, device="cpu").embed_texts("thing1")
