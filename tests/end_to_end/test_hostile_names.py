"""Names, captions and keys that try to steer the terminal are shown as they are by every command."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustcmr.cli.main import run as command_line
from robustcmr.runs.pairs_table import PairsTable

NAME = "[red]x[/b]$(id) '\x1b[31m\u202e\u200b\x9b"
SHOWN = r"[red]x[/b]$(id) '\x1b[31m\u202e\u200b\x9b"
RUN, SHOWN_RUN = Path(f"runs/{NAME}\udcff"), rf"runs/{SHOWN}\udcff"  # ends in a byte that is not UTF-8
CAPTION = "=cmd|' /C calc'!A0 [b]red[/b] \x1b]0;title\x07 <script>alert(1)</script> \u202e"
TINY = (
    *("--device", "cpu", "--epochs", "1", "--noise", "0.4", "--set", "matcher.dim=8"),
    *("--set", "matcher.word_dim=8", "--set", "method.warmup_epochs=0", "--set", "training.batch_size=16"),
)


def hidden(text: str) -> set[str]:
    """Control characters that a terminal would obey."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


def exit_code() -> int:
    """Run the command in ``sys.argv``."""
    try:
        command_line()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_folder: Any) -> Path:
    """A data folder and a finished run of it, both of hostile names."""
    root: Path = tmp_path_factory.mktemp("hostile")
    data = make_folder(root / f"data {NAME}", sizes={"train": 12, "dev": 6, "test": 6})
    lines = (data / "train_caps.txt").read_text(encoding="utf-8").splitlines()
    lines[::3] = [CAPTION] * len(lines[::3])
    (data / "train_caps.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    kept = io.BytesIO()
    stream = io.TextIOWrapper(kept, encoding="ascii")
    arguments = ["--data", "precomp", "--data-root", str(data), *TINY, "--output", str(root / RUN)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["robustcmr", "train", *arguments])
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        code = exit_code()
    stream.flush()
    said = kept.getvalue().decode("ascii")
    assert code == 0, said
    assert not hidden(said)
    assert f"The run is in {root}/{SHOWN_RUN}." in said
    write_pairs(root)
    return root


def write_pairs(root: Path) -> None:
    """Pairs of hostile names, ids and captions, and their vectors."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(240, 16))
    for kind in ("images", "texts", "pairs"):
        (root / f"{kind} {NAME}").parent.mkdir()  # there is a slash in the name
    np.save(root / f"images {NAME}.npy", images)
    np.save(root / f"texts {NAME}.npy", images + 0.5 * rng.normal(size=images.shape))
    with (root / f"pairs {NAME}.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "image", "caption", NAME])
        table.writerows([f"{NAME}{row}", f"{row}{NAME}.jpg", f"{row} {CAPTION}", NAME] for row in range(240))


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., tuple[int, str, str]]:
    """Run a command beside the run, on a terminal if asked, and return its code, stdout and stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "300")

    def run(*words: object, terminal: bool = False) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["robustcmr", *map(str, words)])
        capsys.readouterr()
        streams = Terminal(), Terminal()
        with monkeypatch.context() as patch:
            if terminal:
                patch.setattr(sys, "stdout", streams[0])
                patch.setattr(sys, "stderr", streams[1])
                patch.setenv("TERM", "xterm")
            code = exit_code()
        if terminal:  # rich's own colours and movements
            out, err = (re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue()) for stream in streams)
            err = re.sub(r"\r(texts \d+/\? [\d:]+)?", "", err)  # the bar of embed
        else:
            out, err = capsys.readouterr()
        assert not hidden(out + err), words
        return code, out, err

    return run


PAIRS, AUDIT = f"pairs {NAME}.csv", Path(f"audits/{NAME}")
COMMANDS: dict[str, tuple[object, ...]] = {
    "data check pairs": ("data", "check", PAIRS),
    "audit": (
        *("audit", PAIRS, "--image-vectors", f"images {NAME}.npy", "--text-vectors", f"texts {NAME}.npy"),
        *("-o", AUDIT, "--restart"),
    ),
    "report of an audit": ("report", AUDIT, "-o", f"{NAME}.html"),
    "apply": ("apply", AUDIT, "--to", f"clean {NAME}", "--dry-run"),
    "data check": ("data", "check", f"data {NAME}"),
    "show data": ("show", "data", "precomp", "--data-root", f"data {NAME}"),
    "eval": ("eval", RUN, "--device", "cpu"),
    "suspects": ("suspects", RUN, "--no-sheet"),
    "rematch": ("rematch", RUN, "--device", "cpu", "-o", f"{NAME}.csv"),
    "report": ("report", RUN, "--no-model", "-o", f"{NAME}.html"),
    "compare": ("compare", RUN),
    "compare csv": ("compare", RUN, "--format", "csv"),
    "compare markdown": ("compare", RUN, "--format", "markdown"),
    "compare latex": ("compare", RUN, "--format", "latex"),
    "card": ("card", RUN),
    "search": ("search", RUN, f"thing1 {NAME}", "--split", "train"),
    "embed": ("embed", RUN, "--captions", f"data {NAME}/dev_caps.txt", "-o", f"{NAME}-out", "--overwrite"),
    "validate": ("validate", RUN / "config.yaml"),
    "noise describe": ("noise", "describe", RUN / "noise.npz"),
}


@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_every_command_shows_a_hostile_run(words: tuple[object, ...], terminal: bool, call: Any) -> None:
    code, out, err = call(*words, terminal=terminal)
    assert code == 0, err
    assert out


def test_captions_and_commands_are_shown_as_they_are(call: Any) -> None:
    _, out, _ = call("suspects", RUN, "--no-sheet", "--top", "60")
    assert r"=cmd|' /C calc'!A0 [b]red[/b] \x1b]0;title\x07 <script>" in out
    _, out, _ = call("show", "data", "precomp", "--data-root", f"data {NAME}")
    assert r"  =cmd|' /C calc'!A0 [b]red[/b] \x1b]0;title\x07 <script>alert(1)</script> \u202e" in out
    _, out, _ = call("eval", RUN, "--device", "cpu")
    assert f"one model: {SHOWN_RUN}" in out


@pytest.mark.parametrize(
    "words",
    [("search", RUN, NAME), ("suspects", RUN, "--no-sheet"), ("compare", RUN, "--format"), ("eval", RUN)],
)
def test_json_is_valid_and_keeps_the_data(words: tuple[object, ...], call: Any) -> None:
    code, out, _ = call(*words, "json" if words[-1] == "--format" else "--json")
    assert code == 0
    assert out.isascii()
    json.loads(out)
    assert json.dumps(NAME)[1:-1] in out


def test_validate_prints_what_it_reads(call: Any, folder: Path) -> None:
    _, out, _ = call("validate", RUN / "config.yaml")
    (folder / "again.yaml").write_text(out, encoding="utf-8")
    assert call("validate", "again.yaml")[1] == out


def test_tables_hold_no_formulas_and_are_read_back(folder: Path) -> None:
    path = folder / RUN / "pairs.csv"
    with path.open(encoding="utf-8", newline="") as file:
        cells = [row["caption"] for row in csv.DictReader(file)]
    assert f"'{CAPTION}" in cells
    assert CAPTION in PairsTable.read(path).caption
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


MISTAKES: dict[str, tuple[object, ...]] = {
    "source": ("audit", NAME, "-o", "out"),
    "column": ("data", "check", PAIRS, "--text", f"{NAME}s"),
    "condition": ("data", "check", PAIRS, "--where", NAME),
    "audit": ("apply", NAME, "--to", "out"),
    "folder": ("eval", f"no {NAME}"),
    "option": ("train", f"--{NAME}"),
    "command": (NAME,),
    "choice": ("compare", RUN, "--format", NAME),
    "key": ("train", "--set", f"{NAME}=1"),
    "value": ("train", "--set", f"matcher.dim={NAME}"),
    "matcher": ("train", "--matcher", NAME),
    "recipe": ("validate", NAME),
    "among": ("search", RUN, "thing1", "--among", NAME),
    "captions": ("embed", RUN, "--captions", NAME, "-o", "out"),
    "split": ("eval", RUN, "--split", NAME, "--device", "cpu"),
    "kind": ("show", NAME),
    "noise": ("noise", "describe", f"{NAME}.npy"),
    "noise option": ("noise", f"--{NAME}"),
    "sweep": ("sweep", "status", NAME),
    "checkpoint": (
        *("convert", NAME, "--from", "sgraf", "--data", "f30k", "--data-root", NAME),
        *("--vocabulary", NAME, "-o", "converted"),
    ),
}


@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
@pytest.mark.parametrize("words", MISTAKES.values(), ids=MISTAKES)
def test_every_mistake_is_answered_verbatim(words: tuple[object, ...], terminal: bool, call: Any) -> None:
    code, out, err = call(*words, terminal=terminal)
    assert (code, out) == (2, "")
    assert "[red]x[/b]$(id)" in err
    assert r"\x1b[31m\u202e\u200b\x9b" in err


def test_keys_of_archives_are_shown_as_they_are(call: Any, folder: Path) -> None:
    np.savez(folder / "odd.npz", **{NAME: np.zeros(3)})
    code, _, err = call("noise", "describe", "odd.npz")
    assert code == 2
    labelled = folder / "labelled"
    labelled.mkdir()
    np.savez(labelled / "train.npz", **{NAME: np.zeros((3, 2), np.float32)})
    code, out, err = call("data", "check", "labelled", "--data", "labelled")
    assert code == 1
    assert SHOWN in out + err
