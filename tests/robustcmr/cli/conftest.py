import io
import sys
from dataclasses import dataclass

import pytest

from robustcmr import plugins
from robustcmr.cli.main import run
from robustcmr.data.scenes import Scenes


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def robustcmr(monkeypatch, capsys):
    """Run the command in this process, as the installed script does."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["robustcmr", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            run()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache for the embedded data that all tests share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def few_scenes(monkeypatch, cache):
    """The embedded data set under another name, and with few pictures."""

    class FewScenes(Scenes):
        class Config(Scenes.Config):
            n_train: int = 6
            n_dev: int = 2
            n_test: int = 3

    monkeypatch.setenv("ROBUSTCMR_CACHE", str(cache))
    monkeypatch.setitem(plugins.datasets._registered, "few-scenes", FewScenes)
    return "few-scenes"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def terminal():
    """The class of such streams."""
    return Terminal
