"""Vectors on disk and in memory: written as they come, found by product."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import robustcmr
from robustcmr.errors import ArgumentError, DataError
from robustcmr.jobs import embeddings
from robustcmr.jobs.embeddings import Embeddings, Lines, VectorWriter, read_vectors

ABOUT = {"model": "m"}


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def random_embeddings(n, width=5, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return Embeddings("texts", vectors, [f"caption {row}" for row in range(n)], "model")


@pytest.mark.parametrize("k", [1, 7, 100, 300])
def test_the_nearest_are_those_of_a_sort(k, monkeypatch):
    monkeypatch.setattr(embeddings, "_BLOCK", 64)
    found = random_embeddings(300)
    query = np.random.default_rng(1).normal(size=5).astype(np.float32)
    rows, products, how = found.nearest(query, k)
    expected = np.argsort(-(found.vectors @ query), kind="stable")[:k]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(products, (found.vectors @ query)[expected], rtol=1e-6)
    assert how == "vectors"


def test_ties_come_in_order():
    same = Embeddings("texts", np.ones((9, 2), np.float32), list("abcdefghi"), "model")
    assert same.nearest(np.ones(2, np.float32), 9)[0].tolist() == list(range(9))


def test_many_vectors_are_searched_by_faiss_where_it_is_installed(monkeypatch):
    class Index:
        """Exact products, as faiss gives those of the lists it visits; -1 where it found too few."""

        def __init__(self):
            self.vectors, self.trained, self.nprobe = np.empty((0, 5), np.float32), 0, 1

        def train(self, sample):
            self.trained = len(sample)

        def add(self, block):
            assert block.dtype == np.float32
            self.vectors = np.concatenate([self.vectors, block])

        def search(self, queries, k):
            products = queries @ self.vectors.T
            rows = np.argsort(-products, axis=1)[:, : k - 1]
            best = np.take_along_axis(products, rows, 1)
            return np.pad(best, ((0, 0), (0, 1))), np.pad(rows, ((0, 0), (0, 1)), constant_values=-1)

    made = []

    def index_factory(width, kind, metric):
        made.append((width, kind, metric))
        return Index()

    monkeypatch.setitem(
        sys.modules, "faiss", SimpleNamespace(index_factory=index_factory, METRIC_INNER_PRODUCT="ip")
    )
    monkeypatch.setattr(embeddings, "find_spec", lambda name: name == "faiss")
    monkeypatch.setattr(embeddings, "INDEXED", 100)
    monkeypatch.setattr(embeddings, "_BLOCK", 64)
    few, many = random_embeddings(100), random_embeddings(400)
    query = np.ones(5, np.float32)
    assert few.nearest(query, 3)[2] == "vectors"
    for _ in range(2):
        rows, products, how = many.nearest(query, 4)
        expected = np.argsort(-(many.vectors @ query))[:3]  # the fourth was not found
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_allclose(products, (many.vectors @ query)[expected], rtol=1e-6)
        assert how == "faiss"
    assert made == [(5, "IVF80,Flat", "ip")]  # once


def test_faiss_itself_agrees(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(embeddings, "INDEXED", 100)
    many = random_embeddings(2000, 16)
    hits = []
    for row in range(20):
        rows, products, how = many.nearest(many.vectors[row], 10)
        np.testing.assert_allclose(products, (many.vectors @ many.vectors[row])[rows], rtol=1e-4)
        hits.append(len(set(rows) & set(np.argsort(-(many.vectors @ many.vectors[row]))[:10])))
        assert how == "faiss"
    assert np.mean(hits) > 8  # of 10; 64 of 178 lists are visited


def test_vectors_are_written_as_they_come(tmp_path):
    parts = [(np.full((3, 2), row, np.float64), [f"a  b\n{row}"] * 3) for row in range(5)]
    VectorWriter(tmp_path, "texts").write(iter(parts), {"model": "m"})
    vectors, names, about = read_vectors(tmp_path, "texts")
    assert isinstance(vectors, np.memmap)
    np.testing.assert_array_equal(vectors, np.repeat(np.arange(5.0), 3)[:, None] * np.ones(2))
    assert (len(names), names[4], names[-1], names[:1]) == (15, "a b 1", "a b 4", ["a b 0"])
    assert about == {"kind": "texts", "count": 15, "width": 2, "model": "m"}
    np.testing.assert_array_equal(np.load(tmp_path / "texts.npy"), vectors)
    with pytest.raises(IndexError):
        names[15]


def test_a_failure_keeps_what_was_there(tmp_path):
    parts = [(np.ones((2, 2), np.float32), ["a", "b"])]
    VectorWriter(tmp_path, "texts").write(iter(parts), ABOUT)

    def failing():
        yield parts[0]
        raise DataError("damaged")

    with pytest.raises(DataError):
        VectorWriter(tmp_path, "texts", overwrite=True).write(failing(), ABOUT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["texts.json", "texts.npy", "texts.txt"]
    assert len(read_vectors(tmp_path, "texts")[0]) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "texts.npy").unlink(),
        lambda folder: (folder / "texts.npy").write_bytes(b"x"),
        lambda folder: (folder / "texts.txt").write_text("one\n"),
        lambda folder: (folder / "texts.json").write_text("[]"),
        lambda folder: (folder / "texts.json").write_text('{"count": 2, "width": 2, "kind": "images"}'),
        lambda folder: (folder / "texts.json").write_text('{"count": 1e9}'),
        lambda folder: np.save(folder / "texts.npy", np.ones((2, 2))),
        lambda folder: (folder / "texts.npy").write_bytes((folder / "texts.npy").read_bytes()[:-1]),
        lambda folder: np.save(folder / "texts.npy", np.array([["a", {}], [0, 1]], object)),
        lambda folder: pipe(folder / "texts.txt"),
        lambda folder: pipe(folder / "texts.npy"),
        lambda folder: pipe(folder / "texts.json"),
    ],
)
def test_damaged_files_are_told(tmp_path, damage):
    VectorWriter(tmp_path, "texts").write(iter([(np.ones((2, 2), np.float32), ["a", "b"])]), ABOUT)
    damage(tmp_path)
    with pytest.raises(DataError, match="embed them again"):
        read_vectors(tmp_path, "texts")


def test_names_that_are_not_utf8_are_kept(tmp_path):
    names = ["a\udcff.png", "é"]
    VectorWriter(tmp_path, "images").write(iter([(np.ones((2, 2), np.float32), names)]), ABOUT)
    _, found, _ = read_vectors(tmp_path, "images")
    assert [found[0], found[1]] == list(found) == names


def test_a_source_whose_name_is_not_utf8_is_found_again(omit_run, tmp_path):
    run = robustcmr.load(omit_run, device="cpu")
    source = tmp_path / "a\udcff %41 é.npy"
    np.save(source, np.random.default_rng(0).normal(size=(3, 3, 8)).astype(np.float32))
    expected = run.score(run.embed_images(source, output=tmp_path / "vectors"), "thing1")
    np.testing.assert_array_equal(run.score(tmp_path / "vectors", "thing1"), expected)
    source.unlink()
    with pytest.raises(ArgumentError, match="is gone or has changed"):
        run.score(tmp_path / "vectors", "thing1")


def test_lines_of_any_length(tmp_path):
    texts = ["é" * length for length in (1, 70_000, 1_100_000, 3)]
    (tmp_path / "lines.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    assert list(Lines(tmp_path / "lines.txt")) == texts


@pytest.mark.parametrize("name", ["omit_run", "vector_run"])
def test_saved_vectors_serve_scores_and_searches(name, request, tmp_path):
    run = robustcmr.load(request.getfixturevalue(name), device="cpu", batch_size=4)
    features = np.random.default_rng(0).normal(size=(9, 3, 8)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    captions = [f"a picture of thing{row}" for row in range(10)]
    expected = run.score(features, captions)
    images = run.embed_images(tmp_path / "features.npy", output=tmp_path / "vectors")
    texts = run.embed_texts(iter(captions), output=tmp_path / "vectors")
    assert isinstance(texts.vectors, np.memmap)
    assert texts.names[3] == captions[3]
    assert images.names[2] == "features.npy[2]"
    np.testing.assert_allclose(run.score(images, texts), expected, rtol=1e-4, atol=1e-5)
    again = robustcmr.load(run.path, device="cpu")  # later, from the folder alone
    np.testing.assert_allclose(again.score(tmp_path / "vectors", captions), expected, rtol=1e-4, atol=1e-5)
    for folder in (tmp_path / "vectors", str(tmp_path / "vectors")):
        hits = again.search(captions[0], among=folder, k=3)
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(expected[:, 0])[::-1][:3], rtol=1e-4)
        assert hits[0].name == f"features.npy[{hits[0].index}]"
    hits = again.search(image=features[:1], among=tmp_path / "vectors", k=3)
    assert [hit.captions[0] for hit in hits] == [
        captions[i] for i in np.argsort(-expected[0], kind="stable")[:3]
    ]


def test_a_stream_that_is_gone_cannot_be_scored_by_fragments(omit_run, tmp_path):
    run = robustcmr.load(omit_run, device="cpu")
    arrays = (np.ones((3, 8), np.float32) for _ in range(3))
    images = run.embed_images(arrays, output=tmp_path / "vectors")
    with pytest.raises(ArgumentError, match="where these came from is gone or has changed; give paths"):
        run.score(images, ["thing1"])
    held = run.embed_images(np.ones((3, 8), np.float32) for _ in range(3))
    assert run.score(held, ["thing1"]).shape == (3, 1)


def test_changed_images_are_not_scored_in_place_of_the_embedded_ones(omit_run, tmp_path):
    run = robustcmr.load(omit_run, device="cpu")
    features = np.random.default_rng(0).normal(size=(4, 3, 8)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    run.embed_images(tmp_path / "features.npy", output=tmp_path / "vectors")
    np.save(tmp_path / "features.npy", features[::-1].copy())
    with pytest.raises(ArgumentError, match="gone or has changed"):
        run.score(tmp_path / "vectors", ["thing1"])
    pictures = tmp_path / "regions"
    pictures.mkdir()
    for row in range(4):
        np.save(pictures / f"{row}.npy", features[row])
    expected = run.score(pictures, ["thing1"])
    run.embed_images(pictures, output=tmp_path / "vectors", overwrite=True)
    np.testing.assert_allclose(run.score(tmp_path / "vectors", ["thing1"]), expected, rtol=1e-5)
    np.testing.assert_allclose(expected, run.score(features, ["thing1"]), rtol=1e-4, atol=1e-6)
    (pictures / "1.npy").rename(pictures / "9.npy")
    with pytest.raises(ArgumentError, match="gone or has changed"):
        run.score(tmp_path / "vectors", ["thing1"])


def test_numbers_in_a_stream_go_on(omit_run):
    run = robustcmr.load(omit_run, device="cpu", batch_size=4)
    arrays = (np.full((3, 8), row, np.float32) for row in range(6))
    assert list(run.embed_images(arrays).names) == [f"image {row}" for row in range(6)]
    with pytest.raises(ArgumentError, match=r"caption 5 is 5 \(int\)"):
        run.embed_texts(text for text in ("a", "b", "c", "d", "e", 5))


def test_a_million_captions_would_stream(vector_run, tmp_path):
    """Never more captions are drawn than one batch ahead of what is written, and none is kept.

    ``scripts/benchmarks/embed.py`` measures the memory of a million.
    """
    drawn, done = 0, 0

    def captions():
        nonlocal drawn
        for row in range(5000):
            drawn += 1
            assert drawn - done <= 2 * 64
            yield f"a picture of thing{row % 12} and {row}"

    def progress(count):
        nonlocal done
        done += count

    run = robustcmr.load(vector_run, device="cpu", batch_size=64)
    found = run.embed_texts(captions(), output=tmp_path / "vectors", progress=progress)
    assert done == drawn == len(found) == 5000
    assert isinstance(found.vectors, np.memmap)
    assert isinstance(found.names, Lines)
    assert json.loads((tmp_path / "vectors" / "texts.json").read_text())["count"] == 5000
    few = run.embed_texts(["a picture of thing5 and 4997"]).vectors
    np.testing.assert_allclose(found.vectors[4997], few[0], rtol=1e-5, atol=1e-6)
