"""Files that are damaged, altered or no files at all: each command answers in one sentence, and soon."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from robustcmr.cli.main import run as command_line
from robustcmr.config.resolve import resolve
from robustcmr.errors import RunFolderError
from robustcmr.jobs.train import train
from robustcmr.runs.queries import read_queries

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused in one sentence; return the sentence."""

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["robustcmr", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            command_line()
        error = capsys.readouterr().err
        assert stop.value.code == 2, error
        notes, said, sentence = error.rpartition("robustcmr: ")
        assert said, error
        assert sentence.count("\n") == 1, error
        assert "Traceback" not in notes
        return error if notes.startswith("left out: ") else sentence.strip()

    return call


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nothing writes to: to open it is to wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture
def recipe(tiny_tree: dict[str, Any], tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny_tree))
    return tmp_path / "recipe.yaml"


@pytest.fixture(scope="module")
def finished(make_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    root = tmp_path_factory.mktemp("hostile")
    tree = {
        "data": {"name": "precomp", "root": str(make_folder(root / "data"))},
        "matcher": {"name": "omit", "dim": 8, "word_dim": 8, "region_hidden": 8},
        **{"method": {"name": "hinge"}, "noise": {"ratio": 0.4}},
        "training": {"epochs": 1, "batch_size": 50, "device": "cpu"},
    }
    return train(resolve(tree), root / "run").path


@pytest.fixture
def replaced(finished: Path) -> Iterator[Callable[[str, bytes], Path]]:
    """Replace a file of the finished run until the test ends; return its folder."""
    kept: dict[Path, bytes] = {}

    def put(name: str, content: bytes) -> Path:
        kept.setdefault(finished / name, (finished / name).read_bytes())
        (finished / name).write_bytes(content)
        return finished

    yield put
    for path, content in kept.items():
        path.write_bytes(content)


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "value",
    [
        DEEP,
        "{a: " * 70 + "1" + "}" * 70,
        "&a [*a]",
        "&a {b: *a}",
        "[" + "&a [x, x], " + "*a, " * 60_000 + "]",
    ],
    ids=["deep", "deep mapping", "itself", "mapping in itself", "aliases"],
)
def test_values_that_grow(refused: Refused, recipe: Path, tmp_path: Path, value: str) -> None:
    said = refused("train", "--config", recipe, "-o", tmp_path / "out", "--set", f"matcher={value}")
    assert said.startswith("cannot read the value '")
    assert len(said) < 200
    (tmp_path / "own.yaml").write_text(f"matcher: {value}\n")
    for words in (
        ("validate",),
        ("train", "-o", tmp_path / "out", "--config"),
        ("sweep", "run", "--dry-run"),
    ):
        assert f"{tmp_path / 'own.yaml'} cannot be read as YAML" in refused(*words, tmp_path / "own.yaml")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["!!bool x", "!!timestamp x", "!!int ''"])
def test_values_that_do_not_fit_their_tag(refused: Refused, recipe: Path, tmp_path: Path, value: str) -> None:
    words = ("train", "--config", recipe, "-o", tmp_path / "out")
    assert "training.epochs: got " in refused(*words, "--set", f"training.epochs={value}")
    (tmp_path / "own.yaml").write_text(f"training: {{epochs: {value}}}\n")
    assert "a value does not fit its tag" in refused("validate", tmp_path / "own.yaml")


def test_names_that_no_file_can_have(refused: Refused, recipe: Path, tmp_path: Path) -> None:
    words = ("train", "--config", recipe, "-o", tmp_path / "out", "--set")
    assert "data.root: no file can have a name as long as" in refused(*words, f"data.root={'x' * 5000}")
    (tmp_path / "own.yaml").write_text('data: {name: precomp, root: "a\\0b"}\n')
    assert r"no file can have the name 'a\x00b'" in refused("validate", tmp_path / "own.yaml")
    assert "'data.root='" not in refused(*words, "data.root=\udcff")
    for path in ("x" * 5000, "x" * 300):
        for command in ("eval", "report", "card", "suspects", "rematch", "compare"):
            assert "File name too long" in refused(command, path)


@pytest.mark.parametrize("given", ["pipe", "/dev/zero"])
def test_pipes_and_devices(
    refused: Refused, recipe: Path, tmp_path: Path, data_folder: Path, pipe: Path, given: str
) -> None:
    path = pipe if given == "pipe" else Path(given)
    kind = "it is a named pipe" if given == "pipe" else "it is a device"
    words = ("train", "-o", tmp_path / "out", "--config")
    assert kind in refused(*words, path)
    assert kind in refused("validate", path)
    assert kind in refused("sweep", "run", path)
    assert kind in refused(*words, recipe, "--noise-file", path, "--set", "noise.ratio=0")
    assert kind in refused(*words, recipe, "--set", f"text.vocabulary={path}")
    for name in ("train_caps.txt", "train_ims.npy"):
        kept = (data_folder / name).read_bytes()
        (data_folder / name).unlink()
        (data_folder / name).symlink_to(path)
        assert kind in refused(*words, recipe)
        (data_folder / name).unlink()
        (data_folder / name).write_bytes(kept)


@pytest.mark.parametrize("name", ["results.json", "environment.json", "metrics.jsonl", "config.yaml"])
@pytest.mark.parametrize("content", [DEEP, "{}", "null\n"])
def test_files_of_a_run(refused: Refused, replaced: Any, name: str, content: str) -> None:
    run = replaced(name, content.encode())
    for command in ("report", "compare"):
        if (name, content) == ("environment.json", "{}"):
            break  # nothing in it is needed
        assert name in refused(command, run)
    if name == "config.yaml":
        assert name in refused("eval", run)  # never with the defaults of an empty file


def test_checkpoints_that_would_execute_code(refused: Refused, replaced: Any, finished: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, ("touch /tmp/executed",)

    torch.save({"training": Evil()}, finished / "evil.pt")
    content = (finished / "evil.pt").read_bytes()
    (finished / "evil.pt").unlink()
    replaced("checkpoints/last/state.pt", content)
    kept = (finished / "results.json").read_bytes()
    (finished / "results.json").unlink()
    try:
        said = refused("train", "--resume", finished)
        assert "state.pt asks for posix.system while it is read, which may execute code" in said
        assert "weights_only" not in said
        for broken in (b"", content[:100], b"\x80\x02}."):
            replaced("checkpoints/last/state.pt", broken)
            assert "state.pt" in refused("train", "--resume", finished)
        torch.save(torch.ones(3), finished / "checkpoints/last/state.pt")
        assert "holds a Tensor, expected the state of a training" in refused("train", "--resume", finished)
    finally:
        (finished / "results.json").write_bytes(kept)


def test_noise_that_torch_wrote(refused: Refused, recipe: Path, tmp_path: Path) -> None:
    torch.save(torch.arange(200) // 5, tmp_path / "noise.npy")
    said = refused(
        *("train", "--config", recipe, "-o", tmp_path / "out"),
        *("--noise-file", tmp_path / "noise.npy", "--set", "noise.ratio=0"),
    )
    assert "was written by torch.save, expected a noise file" in said


def test_features_that_promise_more_than_they_hold(refused: Refused, recipe: Path, data_folder: Path) -> None:
    path = data_folder / "train_ims.npy"
    content = path.read_bytes()
    for shape in (b"(-40, 3, 8)", b"(4000000000, 3, 8)"):
        path.write_bytes(
            content.replace(b"(40, 3, 8)", shape).replace(b" " * (len(shape) - 10) + b"\n", b"\n", 1)
        )
        assert str(path) in refused("train", "--config", recipe, "-o", data_folder / "out")


def test_a_vocabulary_of_half_characters(refused: Refused, recipe: Path, tmp_path: Path) -> None:
    words = ["<pad>", "<start>", "<end>", "<unk>", "\ud800"]
    tree = {
        "word2idx": {word: i for i, word in enumerate(words)},
        "idx2word": {str(i): word for i, word in enumerate(words)},
        "idx": 5,
    }
    (tmp_path / "words.json").write_text(json.dumps(tree))
    said = refused(
        *("train", "--config", recipe, "-o", tmp_path / "out"),
        *("--set", f"text.vocabulary={tmp_path / 'words.json'}"),
    )
    assert "'\\ud800' in it holds a lone surrogate, which is no character" in said


def test_queries_of_another_form(finished: Path, replaced: Any) -> None:
    np.savez(finished / "other.npz", i2t_rank=np.array(["x"]), t2i_rank=[1], t2i_image=[2**40])
    content = (finished / "other.npz").read_bytes()
    (finished / "other.npz").unlink()
    replaced("queries-test.npz", content)
    with pytest.raises(RunFolderError, match=r"queries-test\.npz is damaged"):
        read_queries(finished / "queries-test.npz")


@pytest.mark.parametrize("table", ["pairs.csv", "labels.csv"])
def test_a_pipe_as_a_table_of_estimates(refused: Refused, finished: Path, table: str) -> None:
    os.mkfifo(finished / table)
    try:
        for command in ["suspects"] if table == "labels.csv" else ["suspects", "report", "rematch"]:
            assert f"{table}: it is a named pipe, expected a regular file" in refused(command, finished)
    finally:
        (finished / table).unlink()


def test_a_pipe_in_place_of_what_is_written(refused: Refused, finished: Path, pipe: Path) -> None:
    for command in ("card", "compare", "report"):
        said = refused(command, finished, "-o", pipe)
        assert said.startswith(f"cannot write {pipe}: it is a named pipe, expected a regular file")
    assert pipe.is_fifo()
