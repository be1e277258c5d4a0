"""Audits from Python: what may be given, and what comes back."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import robustcmr
from robustcmr.errors import UserError
from robustcmr.jobs.audit_api import _folder

COUNT, WIDTH, WRONG = 1500, 24, 300


def vectors(wrong=0):
    rng = np.random.default_rng(1)
    images = rng.normal(size=(COUNT, WIDTH))
    texts = images + 0.6 * rng.normal(size=images.shape)
    texts[:wrong] = np.roll(texts[:wrong], 1, axis=0)
    return images.astype(np.float32), texts.astype(np.float32)


def columns():
    return {
        "uid": [f"u{i}" for i in range(COUNT)],
        "url": [f"https://example.org/{i}.jpg" for i in range(COUNT)],
        "caption": [f"picture number {i}" for i in range(COUNT)],
    }


def write(folder):
    images, texts = vectors(WRONG)
    pq.write_table(pa.table(columns()), folder / "web.parquet")
    np.save(folder / "images.npy", images)
    np.save(folder / "texts.npy", texts)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An audit of the same pairs, read from files."""
    folder = tmp_path_factory.mktemp("files")
    write(folder)
    given = (folder / "images.npy", folder / "texts.npy")
    return audit(folder / "web.parquet", given, output=folder / "out")


def audit(source="web.parquet", given=("images.npy", "texts.npy"), **options):
    return robustcmr.audit_pairs(source, given, **{"progress": False, "output": "out", **options})


def same(first, second):
    for name in ("id", "score", "p_mismatch", "decision"):
        np.testing.assert_array_equal(first.pairs[name], second.pairs[name])


def test_wrong_pairs_are_found(files):
    assert files.noise_rate.low <= WRONG / COUNT <= files.noise_rate.high + 0.05
    assert len(files.dropped) > 100
    assert {int(key[1:]) for key in files.dropped} <= set(range(WRONG))
    same(files, robustcmr.load_audit(files.path))


@pytest.mark.parametrize("kind", ["columns", "table", "frame"])
def test_pairs_and_vectors_in_memory_are_as_files(place, files, kind):
    images, texts = vectors(WRONG)
    source = columns()
    if kind == "table":
        source = pa.table(source)
    elif kind == "frame":
        source = pytest.importorskip("pandas").DataFrame(source)
    found = audit(source, {"image": images, "text": "texts.npy"} if kind == "frame" else (images, texts))
    same(found, files)
    assert (place / "out" / "given" / "pairs.parquet").is_file()
    assert found.apply(place / "clean").rows == len(found.kept)


def test_vectors_in_columns(place, files):
    images, texts = vectors(WRONG)
    same(audit({**columns(), "seen": images, "read": texts}, ("seen", "read")), files)


def test_a_finished_audit_is_not_replaced_unless_asked(place):
    found = audit(columns(), vectors(WRONG), output=None)
    assert found.path.as_posix() == "audits/pairs"
    with pytest.raises(UserError, match="holds a finished audit"):
        audit(columns(), vectors(WRONG), output=None)
    kept = found.path / "given" / "pairs.parquet"
    before = kept.stat().st_mtime_ns
    assert audit(columns(), vectors(WRONG), output=None, seed=1, restart=True).summary.seed == 1
    assert kept.stat().st_mtime_ns == before  # the same data is written once


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("web/*.parquet", "web"),
        ("web.parquet", "web"),
        ("shop/", "shop"),
        (["a/b.csv", "c.csv"], "b"),
        ("hf://user/set", "set"),
        ({"caption": []}, "pairs"),
    ],
)
def test_the_folder_is_named_after_the_source(source, name):
    assert _folder(source).as_posix() == f"audits/{name}"


@pytest.mark.parametrize(
    ("source", "given", "options", "message"),
    [
        (7, None, {}, "the source is int, expected paths"),
        ([], None, {}, "the source is an empty list"),
        ("", None, {}, "the source is ''"),
        ({}, None, {}, "no columns by name"),
        ({"caption": ["a"], "url": ["b", "c"]}, None, {}, "the source is no table of pairs"),
        ("web.parquet", 7, {}, "vectors are int"),
        ("web.parquet", ("a", "b", "c"), {}, "vectors are tuple"),
        ("web.parquet", {"images": "a"}, {}, "the name 'images', expected 'image' and 'text'"),
        ("web.parquet", (np.zeros(3), "texts.npy"), {}, r"image vectors are an array \(3,\)"),
        ("web.parquet", (np.array([["a"]]), "texts.npy"), {}, "expected a path or an array"),
        ("web.parquet", ([1, 2], "texts.npy"), {}, "the image vectors are list"),
        ("web.parquet", None, {"device": "gpu"}, "device is 'gpu'"),
        ("web.parquet", None, {"engine": "dask"}, "there is no engine 'dask'"),
        ("web.parquet", None, {"memory": 0}, "memory is 0"),
        ("web.parquet", None, {"sample": 0}, "sample is 0"),
        ("web.parquet", None, {"seed": "a"}, "seed is 'a'"),
        ("web.parquet", None, {"model": "clip", "run": "runs/a"}, "a model and a run were given"),
        ("web.parquet", None, {"output": 3}, "output is 3"),
    ],
)
def test_what_cannot_be_audited(place, source, given, options, message):
    with pytest.raises(UserError, match=message):
        audit(source, given, **options)
    assert not (place / "out" / "audit.json").exists()


def test_without_the_packages_the_extra_is_named(monkeypatch):
    from robustcmr.jobs import audit_packages

    monkeypatch.setattr(audit_packages, "find_spec", lambda name: None if name == "duckdb" else True)
    with pytest.raises(UserError, match=r"needs pyarrow and duckdb; pip install 'robustcmr\[audit\]'"):
        audit_packages.require_packages()
