"""The base of all options classes."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from robustcmr.options import Options


class Example(Options):
    size: float = 1.0
    file: Path | None = None
    folder: Path = Path("here")


def test_unknown_keys_and_numbers_that_are_none_are_refused():
    for bad in ({"sise": 2}, {"size": float("nan")}, {"size": float("inf")}):
        with pytest.raises(ValidationError):
            Example(**bad)


def test_options_cannot_be_changed():
    with pytest.raises(ValidationError):
        Example().size = 3.0


def test_paths_are_absolute_also_when_they_are_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Example(file="a/b.txt")
    assert options.file == tmp_path / "a" / "b.txt"
    assert options.folder == tmp_path / "here"
    assert Example().file is None
    assert Example(file="/a/b").file == Path("/a/b")


def test_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Example(file="~/b").file == Path("/home/somebody/b")
    with pytest.raises(ValidationError, match="no home folder is known for '~no-such-user-here/b'"):
        Example(file="~no-such-user-here/b")
