"""A mistake around an audit is one clear sentence and exit code 2; nothing is half-written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.cli.main import run as command_line

COUNT, WIDTH = 240, 16
GOOD = ("audit", "web.parquet", "--image-vectors", "images.npy", "--text-vectors", "texts.npy", "-o", "out")

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["robustcmr", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            command_line()
        except SystemExit as stop:
            code = int(stop.code or 0)
        done = capsys.readouterr()
        return code, done.out, done.err

    return call


def write_inputs(folder: Path) -> None:
    """Good pairs, vectors of theirs, and things that are wrong in one way each."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(COUNT, WIDTH)).astype(np.float32)
    texts = (images + 0.5 * rng.normal(size=images.shape)).astype(np.float32)
    columns = {
        "uid": [f"u{i}" for i in range(COUNT)],
        "url": [f"https://example.org/{i}.jpg" for i in range(COUNT)],
        "caption": [f"picture number {i}" for i in range(COUNT)],
        "width": list(range(COUNT)),
    }
    pq.write_table(pa.table(columns), folder / "web.parquet")
    np.save(folder / "images.npy", images)
    np.save(folder / "texts.npy", texts)
    np.save(folder / "narrow.npy", texts[:, :8])
    np.save(folder / "few.npy", texts[:-5])
    np.save(folder / "nan.npy", np.full_like(texts, np.nan))
    np.save(folder / "words.npy", np.array([f"{i}" for i in range(COUNT)]))
    np.save(folder / "objects.npy", np.array([{}] * COUNT), allow_pickle=True)
    (folder / "cut.npy").write_bytes((folder / "texts.npy").read_bytes()[:50])
    (folder / "cut.parquet").write_bytes((folder / "web.parquet").read_bytes()[:-40])
    pq.write_table(pa.table({**columns, "caption": ["", *columns["caption"][1:]]}), folder / "empty.parquet")
    pq.write_table(pa.table({"a": [1], "b": [2.0]}), folder / "numbers.parquet")
    pq.write_table(pa.table({"uid": ["x"], "txt": ["y"]}), folder / "other.parquet")
    (folder / "nothing.csv").write_text("")
    (folder / "note.docx").write_bytes(b"PK\3\4 no pairs")
    (folder / "others").mkdir()
    (folder / "others" / "thesis.tex").write_text("mine")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture
def place(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of links to the inputs, to work in."""
    for path in inputs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(*words: str, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The good command with options put in, the source replaced if the first word is no option."""
    command = list(GOOD)
    for name in without:
        at = command.index(name)
        del command[at : at + 2]
    if words and not words[0].startswith("-"):
        command[1], words = words[0], words[1:]
    for name in [word for word in words if word.startswith("--") and word in command]:
        at = command.index(name)
        del command[at : at + 2]
    return (*command, *words)


VECTORS = ("--image-vectors", "--text-vectors")

AUDITS: dict[str, tuple[tuple[str, ...], str]] = {
    "no such file": (changed("gone.parquet"), "there is no file or folder gone.parquet"),
    "a slip in its name": (changed("web.parqet"), "did you mean 'web.parquet'?"),
    "a pattern without files": (changed("shards/*.parquet"), "no file matches"),
    "a format that does not exist": (changed("--format", "parket"), "did you mean 'parquet'?"),
    "a file of no format": (changed("note.docx"), "is of no format that is read"),
    "an empty file": (changed("nothing.csv"), "nothing.csv"),
    "a damaged file": (changed("cut.parquet"), "cut.parquet"),
    "a column that is not there": (changed("--text", "captoin"), "did you mean 'caption'?"),
    "an image column that is not there": (changed("--image", "ulr"), "did you mean 'url'?"),
    "an id column that is not there": (changed("--id", "uidd"), "did you mean 'uid'?"),
    "a caption column of numbers": (changed("--text", "width"), "width"),
    "no column of captions": (changed("numbers.parquet"), "numbers.parquet has a usual name of captions"),
    "files with other columns": (
        ("audit", "web.parquet", "other.parquet", *GOOD[2:]),
        "other.parquet",
    ),
    "a condition that is no SQL": (changed("--where", "width >"), "--where"),
    "a condition on a column that is not there": (changed("--where", "height > 3"), "height"),
    "a condition that leaves nothing": (changed("--where", "width > 99999"), "no pairs"),
    "no vectors at all": (changed(without=VECTORS), "vectors"),
    "vectors of one side": (changed(without=VECTORS[1:]), "give --text-vectors"),
    "vectors that are not there": (changed("--text-vectors", "text.npy"), "text.npy"),
    "vectors of two widths": (changed("--text-vectors", "narrow.npy"), "give both from one model"),
    "too few vectors": (changed("--text-vectors", "few.npy"), "few.npy"),
    "damaged vectors": (changed("--text-vectors", "cut.npy"), "cut.npy"),
    "vectors of words": (changed("--text-vectors", "words.npy"), "words.npy"),
    "pickled vectors": (changed("--text-vectors", "objects.npy"), "objects.npy"),
    "vectors that are all NaN": (changed("--text-vectors", "nan.npy"), "NaN"),
    "vectors and a model": (changed("--model", "clip"), "vectors and a model were given"),
    "a model and a run": (
        changed("--model", "clip", "--run", "runs/a", without=VECTORS),
        "a model and a run",
    ),
    "a model that is not there": (changed("--model", "./clip", without=VECTORS), "clip"),
    "a run that is not there": (changed("--run", "runs/a", without=VECTORS), "runs/a"),
    "a slip in the engine": (changed("--engine", "rya"), "did you mean 'ray'?"),
    "an address without a cluster": (changed("--address", "auto"), "add --engine ray"),
    "a device that does not exist": (changed("--device", "gpu"), "device is 'gpu'"),
    "no such calibration": (changed("--calibration", "audits/old"), "there is no calibration audits/old"),
    "something else as a calibration": (changed("--calibration", "images.npy"), "images.npy"),
    "too few pairs": (changed("--where", "width < 20"), "expected at least 200"),
    "a problem, strictly": (changed("empty.parquet", "--strict"), "cannot be used"),
    "too few pairs to train on": (changed("--deep"), "10,000"),
    "an output that is a file": (changed("-o", "web.parquet", without=("-o",)), "is a file"),
    "an output with other files": (changed("-o", "others", without=("-o",)), "thesis.tex"),
}


@pytest.mark.parametrize("name", AUDITS)
def test_audits(name: str, invoke: Invoke, place: Path) -> None:
    words, expected = AUDITS[name]
    before = sorted(path.name for path in place.iterdir())
    code, out, error = invoke(*words)
    lines = [line for line in error.splitlines() if line.startswith("robustcmr: ")]
    assert (code, out) == (2, ""), error
    assert len(lines) == 1
    assert error.endswith(f"{lines[0]}\n")
    assert expected in lines[0]
    assert "Traceback" not in error
    assert not (place / "out" / "audit.json").exists()
    assert sorted(path.name for path in place.iterdir() if path.name != "out") == before


@pytest.fixture(scope="module")
def finished(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs of its own and a finished audit of them, ``out``."""
    import robustcmr

    folder = tmp_path_factory.mktemp("finished")
    write_inputs(folder)
    vectors = (folder / "images.npy", folder / "texts.npy")
    robustcmr.audit_pairs(folder / "web.parquet", vectors, output=folder / "out", progress=False)
    return folder


@pytest.fixture
def audited(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in a folder to damage; the audit names its source where it was made."""
    import shutil

    shutil.copytree(finished, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    about = tmp_path / "work" / "out" / "audit.json"
    about.write_text(about.read_text().replace(str(finished), str(tmp_path / "work")))
    return tmp_path / "work"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _other_rows(folder: Path) -> None:
    table = pq.read_table(folder / "web.parquet")
    pq.write_table(table.slice(1), folder / "web.parquet")


def _unfinished(folder: Path) -> None:
    (folder / "out" / "audit.json").unlink()
    (folder / "out" / "work").mkdir()


def _no_text(folder: Path) -> None:
    summary = json.loads((folder / "out" / "summary.json").read_text())
    del summary["decisions"]
    (folder / "out" / "summary.json").write_text(json.dumps(summary))


AFTER: dict[str, tuple[Callable[[Path], Any], tuple[str, ...], str]] = {
    "an audit that is there": (lambda _: None, GOOD, "holds a finished audit"),
    "apply without an audit": (lambda _: None, ("apply", "others", "--to", "new"), "has no audit.json"),
    "apply in no folder": (lambda _: None, ("apply", "gone", "--to", "new"), "there is no audit in gone"),
    "apply to an unfinished audit": (_unfinished, ("apply", "out", "--to", "new"), "has not finished"),
    "a list that does not exist": (
        lambda _: None,
        ("apply", "out", "--to", "new", "--list", "kept"),
        "list is 'kept'",
    ),
    "a format that cannot be written": (
        lambda _: None,
        ("apply", "out", "--to", "new", "--format", "parket"),
        "parket",
    ),
    "a target with files": (lambda _: None, ("apply", "out", "--to", "others"), "others"),
    "a target that is a file": (lambda _: None, ("apply", "out", "--to", "note.docx"), "note.docx"),
    "a source that is gone": (
        lambda folder: (folder / "web.parquet").unlink(),
        ("apply", "out", "--to", "new"),
        "there is no file or folder",
    ),
    "a source with other rows": (
        _other_rows,
        ("apply", "out", "--to", "new"),
        "the source has changed since the audit",
    ),
    "damaged pairs": (
        lambda folder: _cut(folder / "out" / "pairs.parquet"),
        ("apply", "out", "--to", "new"),
        "pairs.parquet",
    ),
    "a page of damaged pairs": (
        lambda folder: _cut(folder / "out" / "pairs.parquet"),
        ("report", "out"),
        "pairs.parquet",
    ),
    "a damaged summary": (lambda f: _cut(f / "out" / "summary.json"), ("report", "out"), "summary.json"),
    "a summary without its counts": (_no_text, ("report", "out"), "decisions is missing"),
    "a damaged record": (lambda f: _cut(f / "out" / "audit.json"), ("report", "out"), "audit.json"),
    "a page that is a folder": (lambda _: None, ("report", "out", "-o", "others"), "is a folder"),
    "checking a source with options of a folder of features": (
        lambda _: None,
        ("data", "check", "web.parquet", "--data", "f8k", "--text", "caption"),
        "give one of them",
    ),
}


@pytest.mark.parametrize("name", AFTER)
def test_what_follows_an_audit(name: str, invoke: Invoke, audited: Path) -> None:
    damage, words, expected = AFTER[name]
    damage(audited)
    before = {path.relative_to(audited) for path in audited.rglob("*")}
    code, out, error = invoke(*words)
    lines = [line for line in error.splitlines() if line.startswith("robustcmr: ")]
    assert (code, out) == (2, ""), error
    assert len(lines) == 1
    assert expected in lines[0]
    assert "Traceback" not in error
    after = {path.relative_to(audited) for path in audited.rglob("*")}
    assert {path for path in after - before if not path.name.startswith(".")} == set()


def test_the_good_command_is_good(invoke: Invoke, place: Path) -> None:
    """So that each of the others is refused for its own mistake."""
    code, out, error = invoke(*GOOD, "--json")
    assert code == 0, error
    assert json.loads(out)["pairs"] == COUNT
