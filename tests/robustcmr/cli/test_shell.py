"""Completion, options of several words, plain descriptions, and 'noise' in the style of the others."""

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from robustcmr.cli import main
from robustcmr.cli.prose import prose, summary_in_source
from robustcmr.cli.words import spread
from robustcmr.plugins import matchers

KEYS = {"--set": re.compile(r"[A-Za-z_]\w*(\.\w+)*=")}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--set a=1 b.c=2", "--set a=1 --set b.c=2"),
        ("--set a=1 --set b=2", "--set a=1 --set b=2"),
        ("--set=a=1 b=2 FILE", "--set=a=1 --set b=2 FILE"),
        ("--set a=1 FILE b=2", "--set a=1 FILE b=2"),
        ("--set a=1 ./b=2.yaml", "--set a=1 ./b=2.yaml"),
        ("--set a=1 -o b=2", "--set a=1 -o b=2"),
        ("--set a=1 --json b=2", "--set a=1 --json b=2"),
        ("--set a=1 -- b=2", "--set a=1 -- b=2"),
        ("FILE c=3 --set", "FILE c=3 --set"),
        ("--set a=-1 b=--set c=1", "--set a=-1 --set b=--set --set c=1"),
        ("--set word b=2", "--set word --set b=2"),
    ],
)
def test_words_after_an_option(given, expected):
    assert spread(given.split(), KEYS) == expected.split()


def test_values_with_spaces_stay_one_word():
    given = ["--set", "a=x y=z", "b=[1, 2]", "two words.yaml"]
    assert spread(given, KEYS) == ["--set", "a=x y=z", "--set", "b=[1, 2]", "two words.yaml"]


def test_several_settings_at_once(robustcmr):
    outcome = robustcmr("train", "--set", "training.epochs=0", "optim.betas=[0.5, 2]", "--set", "optim.lr=0")
    assert outcome.code == 2
    for key in ("training.epochs", "optim.betas", "optim.lr"):
        assert f"  {key}: got " in outcome.err


def test_a_name_after_settings_is_not_one_of_them(robustcmr):
    outcome = robustcmr("sweep", "run", "--set", "seed=3", "training.epochs=2", "no-such", "--dry-run")
    assert outcome.code == 2
    assert "no sweep file no-such" in outcome.err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("robustcmr tra", {"train"}),
        ("robustcmr train --matcher sg", {"sgr"}),
        ("robustcmr train --method l2", {"l2rm"}),
        ("robustcmr train --data scen", {"scenes", "scenes-labels"}),
        ("robustcmr train --precision b", {"bf16"}),
        ("robustcmr train --set training.batch", {"training.batch_size="}),
        ("robustcmr list ma", {"matchers"}),
        ("robustcmr show scenes-l", {"scenes-labels"}),
        ("robustcmr noise make-", {"make-labels"}),
        ("robustcmr sweep run noise_rates_", {"noise_rates_quick"}),
        ("robustcmr audit web --format webd", {"webdataset"}),
        ("robustcmr audit web --engine r", {"ray"}),
        ("robustcmr apply audits/web --list re", {"review"}),
        ("robustcmr apply audits/web --format d", {"datacomp"}),
        ("robustcmr data export scen", {"scenes", "scenes-labels"}),
    ],
)
def test_completion(line, expected):
    words = line.split()
    code = (
        "import sys; from robustcmr.cli.main import run\n"
        "import atexit; atexit.register(lambda: print('TORCH' if 'torch' in sys.modules else ''))\n"
        "sys.argv = ['robustcmr']; run()"
    )
    environment = {
        "_ROBUSTCMR_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (set(done.stdout.split()), done.stderr) == (expected, "")


def test_formats_that_are_completed_are_those_that_are_read_and_written():
    from robustcmr.cli import complete
    from robustcmr.sources.convert import WRITERS
    from robustcmr.sources.guess import FORMATS

    assert set(complete.SOURCE_FORMATS) == set(FORMATS)
    assert set(complete.WRITTEN_FORMATS) == set(WRITERS)


def test_completion_is_shown_offline(monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    result = CliRunner().invoke(main.app, ["--show-completion", "bash"], prog_name="robustcmr")
    assert result.exit_code == 0
    assert "_ROBUSTCMR_COMPLETE=complete_bash" in result.output
    assert "--install-completion" in CliRunner().invoke(main.app, ["--help"]).output


# types in help


def _commands(command, path=()):
    yield path, command
    if hasattr(command, "list_commands"):
        context = command.make_context(path[-1] if path else "robustcmr", [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from _commands(command.get_command(context, name), (*path, name))


def test_types_in_every_help_are_plain_and_h_is_help():
    from typer.main import get_command

    for path, _ in _commands(get_command(main.app)):
        result = CliRunner().invoke(main.app, [*path, "-h"])
        assert result.exit_code == 0, path
        assert not re.search(r"<\w+>|list\[|FUNC|\bstr\b|\bint\b", result.output), (path, result.output)
        assert "--help" in result.output


# descriptions


def test_prose_has_no_markup_and_keeps_its_shape():
    text = prose(
        """Nodes of :class:`Sgr` and ``mass``, which is a long line here.

Expected files, see :func:`~a.b`::

    ROOT/
      train.npz    (n, F)

- ``none``: all of the mass is matched to some place
  and more.

Args:
    config: where
      it is.

Raises:
    DataError: never.

References:
    Diao et al., 2021.""",
        40,
    )
    assert text == (
        "Nodes of Sgr and mass, which is a long\nline here.\n\nExpected files, see a.b:\n\n"
        "    ROOT/\n      train.npz    (n, F)\n\n"
        "- none: all of the mass is matched to\n  some place and more.\n\n"
        "References:\n    Diao et al., 2021."
    )


@pytest.mark.parametrize("columns", [50, 100])
def test_show_is_as_wide_as_the_terminal(robustcmr, monkeypatch, terminal, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        robustcmr("show", "sgr")
    text = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())
    assert columns - 15 < max(map(len, text.splitlines())) <= columns
    assert not re.search(r"``|:class:|Raises:|Args:", text)


def test_matchers_are_listed_without_torch():
    code = (
        "import sys; from robustcmr.cli.main import run\n"
        "from robustcmr.plugins import matchers\n"
        "own = [n for n in matchers.names() if matchers.announced(n).startswith('robustcmr.')]\n"
        "matchers.names = lambda: own  # those of other packages are imported, to see whether they can be\n"
        "sys.argv = ['robustcmr', 'list', 'matchers']\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *rows, loaded = done.stdout.splitlines()
    assert loaded == "False"
    assert {row.split()[0] for row in rows} <= set(matchers.names())
    assert len(rows) >= 8


def test_the_summary_in_the_source_is_that_of_the_class():
    for name in ("omit", "sgr", "clip", "two_tower"):
        place = matchers.announced(name)
        assert summary_in_source(place) == matchers.load(name).__doc__.split("\n")[0]
    assert summary_in_source("robustcmr.matchers.gone:Gone") is None
    assert summary_in_source("robustcmr.matchers.omit:Gone") is None
    assert summary_in_source("other.package:Gone") is None


# noise


def test_noise_asks_for_what_its_parser_asks_for():
    from noise_injection.cli import parsers

    for name, parser in parsers("x").items():
        text = CliRunner().invoke(main.app, ["noise", name, "--help"], env={"COLUMNS": "200"}).output
        for action in parser._actions:
            for option in action.option_strings:
                assert re.search(rf"(^|\s){option}\s", text), (name, option)
        assert text.count(f"robustcmr noise {name} ") >= 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["make", "--ratio", "0.4", "-o", "a.npz"],
            "robustcmr: expected --captions, --captions-file or --truth, such as --captions 145000, got none",
        ),
        (
            ["make", "--captions", "5", "--truth", "a.npy", "--ratio", "0.4", "-o", "a.npz"],
            "robustcmr: --captions and --truth exclude each other; leave one of them out",
        ),
        (["make", "--captions", "5", "--ratio", "40%", "-o", "a.npz"], "did you mean 0.4?"),
        (["make", "--captions", "5", "-o", "a.npz"], "Missing option '--ratio'"),
        (["make", "--captions", "five", "--ratio", "0.4", "-o", "a.npz"], "'--captions'"),
        (["make", "--captions", "5", "--ratio", "0.4", "--protocol", "x", "-o", "a.npz"], "'image'"),
        (["mak"], "Did you mean 'make'?"),
        (["describe", "gone.npz"], "robustcmr: there is no noise file gone.npz"),
    ],
)
def test_mistakes_in_noise(robustcmr, words, sentence):
    outcome = robustcmr("noise", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err


def test_noise_from_making_to_applying(robustcmr, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("".join(f"caption {row}\n" for row in range(20)))
    made, table = tmp_path / "noise.npz", tmp_path / "pairs.tsv"
    outcome = robustcmr("noise", "make", "--captions", "20", "--ratio", "0.5", "-o", made, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["record"]["seed"] == 0
    assert robustcmr("noise", "verify", made).code == 0
    applied = robustcmr("noise", "apply", made, "--captions", captions, "-o", table, "--json")
    assert applied.code == 0
    assert json.loads(applied.out)["file"] == str(table)
    other = tmp_path / "index.npy"
    assert robustcmr("noise", "apply", made, "-o", other).code == 0
    changed = robustcmr("noise", "verify", other, "--protocol", "caption", "--ratio", "0.5", "--seed", "7")
    assert changed.code == 1


def test_features_of_images_and_texts(robustcmr, tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    for name, array in (
        ("y", np.arange(12) % 3),
        ("i", rng.normal(size=(12, 4))),
        ("t", rng.normal(size=(12, 3))),
    ):
        np.save(tmp_path / f"{name}.npy", array)
    outcome = robustcmr(
        *("noise", "make-labels", "--labels", tmp_path / "y.npy", "--ratio", "0.4", "--kind", "instance"),
        "--per-modality",
        *("--features", tmp_path / "i.npy", tmp_path / "t.npy", "-o", tmp_path / "n.npz"),
    )
    assert outcome.code == 0, outcome.err
