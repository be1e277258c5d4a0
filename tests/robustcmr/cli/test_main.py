"""The command as a whole: help, suggestions, exit codes, and one sentence for every mistake."""

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import robustcmr as package
from noise_injection import NoiseError
from robustcmr.cli import main
from robustcmr.ctrl_c import end_imports_at_ctrl_c
from robustcmr.errors import UserError
from robustcmr.plugins import matchers

COMMANDS = (
    "train",
    "eval",
    "suspects",
    "rematch",
    "report",
    "compare",
    "card",
    "convert",
    "noise",
    "list",
    "show",
    "validate",
    "env",
    "data",
    "sweep",
)


def real(*words, **options):
    """The command in a process of its own."""
    pipes = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "timeout": 120,
        "check": False,
    }
    return subprocess.run([sys.executable, "-m", "robustcmr", *words], **{**pipes, **options})


def test_version(robustcmr):
    outcome = robustcmr("--version")
    assert (outcome.code, outcome.out) == (0, f"robustcmr {package.__version__}\n")


def test_help_names_every_command():
    result = CliRunner().invoke(main.app, ["--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    result = CliRunner().invoke(main.app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    assert "<path>" not in result.output
    if command not in ("data", "noise", "sweep", "train"):
        assert result.output.count(f"robustcmr {command}") >= 3  # the usage and two examples


@pytest.mark.parametrize(
    "words",
    [("data", "check"), ("sweep", "run"), ("sweep", "resume"), ("sweep", "status"), ("sweep", "report")],
)
def test_every_subcommand_shows_examples(words):
    result = CliRunner().invoke(main.app, [*words, "--help"])
    assert result.exit_code == 0
    assert result.output.count(f"robustcmr {' '.join(words)}") >= 3


def test_help_names_types_in_plain_words():
    text = CliRunner().invoke(main.app, ["report", "--help"]).output
    assert "FOLDER" in text
    assert "PATH" in text
    assert "INTEGER" in text
    assert "<bool>" not in text


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [(["trian"], "train"), (["data", "chek"], "check"), (["vaildate"], "validate")],
)
def test_unknown_commands_are_answered_with_the_nearest(robustcmr, words, suggestion):
    outcome = robustcmr(*words)
    assert outcome.code == 2
    assert f"Did you mean '{suggestion}'?" in outcome.err


def test_unknown_options(robustcmr):
    outcome = robustcmr("train", "--epoch", "3")
    assert outcome.code == 2
    assert "No such option" in outcome.err


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["train", "--help"], ["rematch", "--help"], ["sweep", "run", "--help"]],
)
def test_help_and_version_import_nothing_heavy(words):
    code = (
        "import sys\n"
        "from robustcmr.cli.main import run\n"
        f"sys.argv = ['robustcmr', *{words}]\n"
        "try:\n"
        "    run()\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'numpy', 'accelerate', 'matplotlib', 'PIL', 'nltk', 'transformers'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_real_command_tells_a_mistake_in_one_sentence():
    done = real("train", "--noise", "1.5")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "robustcmr: noise.ratio: got 1.5, expected a number in [0, 1)\n"


def test_the_real_command_lists_all_mistakes():
    known = ", ".join(matchers.names())
    done = real("train", "--noise", "nan", "--matcher", "omitt", "--set", "optim.lrr=3")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "robustcmr: 3 problems in the configuration:",
        f"  matcher.name: unknown matcher 'omitt'; did you mean 'omit'? (known: {known})",
        "  noise.ratio: got nan, expected a number in [0, 1)",
        "  optim.lrr: unknown key; did you mean 'optim.lr'?",
    ]


@pytest.mark.parametrize("error", [UserError("one sentence"), NoiseError("one sentence")])
def test_mistakes_of_the_user_are_told_without_a_traceback(robustcmr, monkeypatch, error):
    def fail(**_):
        raise error

    monkeypatch.setattr(main, "app", fail)
    outcome = robustcmr()
    assert (outcome.code, outcome.out, outcome.err) == (2, "", "robustcmr: one sentence\n")


def test_mistakes_of_ours_are_not_hidden(robustcmr, monkeypatch):
    def fail(**_):
        raise ValueError("a defect")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(ValueError, match="a defect"):
        robustcmr()


def test_a_failure_of_the_system_is_one_sentence(robustcmr, monkeypatch):
    def fail(**_):
        raise OSError(errno.EMFILE, "Too many open files", "runs/a\x1b")

    monkeypatch.setattr(main, "app", fail)
    outcome = robustcmr()
    assert outcome.code == 2
    assert outcome.err == (
        "robustcmr: runs/a\\x1b: Too many open files; close some files, or raise the limit, such as with "
        "'ulimit -n 4096'\n"
    )


def test_a_reader_that_has_gone_is_no_mistake(robustcmr, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        outcome = robustcmr("list", "methods")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_full_disk_under_the_output_is_one_sentence(robustcmr, monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        outcome = robustcmr("list", "methods")
    assert outcome.code == 2
    assert outcome.err == (
        "robustcmr: the output: No space left on device; free some space or choose another folder\n"
    )


@pytest.mark.parametrize(
    "words", [("--version",), ("list", "methods"), ("noise", "--help"), ("train", "--x")]
)
def test_closed_outputs_are_no_mistake(robustcmr, monkeypatch, words):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert robustcmr(*words).code == (2 if words[-1] == "--x" else 0)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize(
    "words", [("--help",), ("train", "--help"), ("show", "scan"), ("show", "…世"), ("list", "data")]
)
def test_every_encoding_will_do(robustcmr, monkeypatch, words, encoding):
    kept = io.BytesIO()
    stream = io.TextIOWrapper(kept, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    robustcmr(*words)
    stream.flush()
    shown = kept.getvalue().decode(encoding)
    assert len(shown) > 50
    assert (
        words[-1] != "…世"
        or "nothing is called '\\u2026\\u4e16'".replace("\\u2026", "…" if encoding == "cp1252" else "\\u2026")
        in shown
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no noise file"),
        (np.zeros(7, dtype=np.int64), "7"),
        (np.zeros((2, 2)), "noise"),
        ("damaged", "noise"),
    ],
)
def test_a_bad_noise_file_is_one_sentence(robustcmr, tmp_path, data_folder, content, sentence):
    path = tmp_path / "index.npy"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        np.save(path, content)
    run = tmp_path / "run"
    outcome = robustcmr(
        *("train", "--data", "precomp", "--data-root", data_folder),
        *("--noise-file", path, "--output", run, "--device", "cpu"),
    )
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("robustcmr: ")
    assert len(outcome.err.splitlines()) == 1
    assert sentence in outcome.err
    assert str(path) in outcome.err
    assert not run.exists()


# the noise command


@pytest.fixture
def noise_file(tmp_path):
    path = tmp_path / "noise.npz"
    subprocess.run(
        [
            *(sys.executable, "-m", "noise_injection", "make", "--captions", "50", "--ratio", "0.4"),
            *("--seed", "3", "--output", path),
        ],
        check=True,
        capture_output=True,
    )
    return path


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_noise_is_the_standalone_program(robustcmr, noise_file, extra):
    alone = subprocess.run(
        [sys.executable, "-m", "noise_injection", "describe", noise_file, *extra],
        check=True,
        capture_output=True,
        text=True,
    )
    outcome = robustcmr("noise", "describe", noise_file, *extra)
    assert (outcome.code, outcome.out) == (0, alone.stdout)
    assert "0.4" in outcome.out


def test_noise_keeps_its_exit_codes(robustcmr, noise_file, tmp_path):
    assert robustcmr("noise", "verify", noise_file).code == 0
    missing = robustcmr("noise", "describe", tmp_path / "gone.npy")
    assert missing.code == 2
    assert missing.err.startswith("robustcmr: there is no noise file")
    assert robustcmr("noise").code == 2


# Ctrl-C

INTERRUPTED = """
import os, signal, sys

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, AtImport())
sys.argv = ["robustcmr", *{words!r}]
import robustcmr.__main__
robustcmr.__main__.run()
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("typer", ["list"]),
        ("robustcmr.cli.suspects", ["list"]),
        ("numpy", ["eval", "none"]),
        ("torch.nn", ["eval", "none"]),
    ],
)
def test_ctrl_c_during_imports_is_one_line(module, words):
    code = INTERRUPTED.format(module=module, words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "robustcmr: stopped by Ctrl-C\n")


@pytest.fixture
def own_handler():
    """The handler of Ctrl-C is put back after the test."""
    before = signal.getsignal(signal.SIGINT)
    yield before
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["eval", "run"], "robustcmr.jobs.evaluate.evaluate"),
        (["report", "run"], "robustcmr.jobs.report.write_run_report"),
        (["rematch", "run"], "robustcmr.jobs.rematch.rematch_run"),
        (["train"], "robustcmr.jobs.train.train"),
        (["env"], "robustcmr.environment.describe_environment"),
        (["noise", "describe", "noise.npz"], "noise_injection.commands.read_noise_file"),
    ],
)
@pytest.mark.parametrize("rank", ["0", "1"])
def test_ctrl_c_during_a_command_is_one_line(monkeypatch, capfd, own_handler, words, place, rank):
    def wait(*args, **options):
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    monkeypatch.setattr(place, wait)
    monkeypatch.setenv("RANK", rank)  # of several processes, one speaks
    monkeypatch.setattr(sys, "argv", ["robustcmr", *words])
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == 130
    assert capfd.readouterr() == ("", "robustcmr: stopped by Ctrl-C\n" if rank == "0" else "")
    assert signal.getsignal(signal.SIGINT) is not own_handler  # another Ctrl-C ends the process silently


def test_a_handler_of_others_and_an_ignored_ctrl_c_stay(own_handler):
    for handler in (signal.SIG_IGN, lambda number, frame: None):
        signal.signal(signal.SIGINT, handler)
        end_imports_at_ctrl_c()
        assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_imports_at_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
