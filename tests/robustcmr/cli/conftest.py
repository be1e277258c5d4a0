import io
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from robustcmr import plugins
from robustcmr.cli.main import run
from robustcmr.data.scenes import Scenes
from robustcmr.data.scenes_labels import ScenesLabels


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


@pytest.fixture
def few_labels(monkeypatch, cache):
    """The embedded labelled data set under another name, and with few pictures."""

    class FewLabels(ScenesLabels):
        class Config(ScenesLabels.Config):
            n_train: int = 18
            n_dev: int = 9
            n_test: int = 9
            text_width: int = 8

    monkeypatch.setenv("ROBUSTCMR_CACHE", str(cache))
    monkeypatch.setitem(plugins.datasets._registered, "few-labels", FewLabels)
    return "few-labels"


@pytest.fixture
def labelled_folder(tmp_path):
    """A folder of labelled features: 9, 6 and 6 pairs of 3 classes."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, n in (("train", 9), ("dev", 6), ("test", 6)):
        image, text = rng.normal(size=(n, 5)), rng.normal(size=(n, 4))
        np.savez(folder / f"{name}.npz", image=image, text=text, label=np.arange(n) % 3)
    return folder


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def terminal():
    """The class of such streams."""
    return Terminal
