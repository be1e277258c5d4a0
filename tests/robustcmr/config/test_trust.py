"""Consent to code that configuration files name: what is asked for, and what a record proves."""

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from robustcmr.config import trust
from robustcmr.config.resolve import compose, read_config, resolve, run_config
from robustcmr.errors import ConfigError, TrustError

MINE = """
from pathlib import Path
from robustcmr.matchers.omit import Omit

Path(__file__).with_name("imported").touch()


class Mine(Omit):
    "A matcher of one's own."
"""
NAMED = {
    "data": {"name": "scenes"},
    "matcher": {"name": "trust_mine:Mine", "dim": 16},
    "method": {"name": "hinge"},
}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a module of one's own, the current one; the state is empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "trust_mine.py").write_text(MINE)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ROBUSTCMR_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    sys.modules.pop("trust_mine", None)


def write(path, tree):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree))
    return path


def recorded(path):
    """Record a file as a command does that wrote it after the user typed the class."""
    resolve(read_config(path))
    trust.remember(path, read_config(path), ["trust_mine:Mine"])
    sys.modules.pop("trust_mine")
    sys.path[:] = [p for p in sys.path if p != str(Path.cwd())]
    (Path.cwd() / "imported").unlink()


def test_places_are_names_that_nothing_announces():
    tree = {"data": "scenes", "matcher": {"name": "a.b:C"}, "method": "d:E", "optim": {"name": "f:G"}}
    assert trust.places(tree) == {"matcher.name": "a.b:C", "method.name": "d:E"}
    assert trust.places(tree, unless={"method": {"name": "hinge"}}) == {"matcher.name": "a.b:C"}
    assert trust.places({"method": "robustcmr.conversion.method:TrainedElsewhere"}) == {}
    assert trust.places({"method": "robustcmr_evil:Class"}) == {"method.name": "robustcmr_evil:Class"}
    assert trust.places({"matcher": None, "method": 3, "data": {"name": ["x:y"]}}) == {}


def test_a_file_made_elsewhere_imports_nothing(mine):
    path = write(mine / "run" / "config.yaml", NAMED)
    with pytest.raises(TrustError) as caught:
        run_config(path)
    assert str(caught.value) == (
        f"{path} names code to import (matcher.name: trust_mine:Mine) and no command here wrote it; look at "
        "that first, and if you trust it repeat the command with --trust (in Python, trusted=True)"
    )
    assert not (mine / "imported").exists()
    assert run_config(path, trusted=True).matcher.name == "trust_mine:Mine"


def test_a_recorded_file_loads_from_the_folder_that_was_recorded(mine, tmp_path, monkeypatch):
    path = write(tmp_path / "run" / "config.yaml", NAMED)
    recorded(path)
    other = tmp_path / "other"  # the current folder has another module of the name
    other.mkdir()
    (other / "trust_mine.py").write_text(MINE)
    monkeypatch.chdir(other)
    assert run_config(path).matcher.name == "trust_mine:Mine"
    assert (mine / "imported").exists()
    assert not (other / "imported").exists()


def test_a_module_that_moved_is_found_with_consent(mine, tmp_path, monkeypatch):
    path = write(tmp_path / "run" / "config.yaml", NAMED)
    recorded(path)
    other = tmp_path / "other"
    other.mkdir()
    (mine / "trust_mine.py").rename(other / "trust_mine.py")
    monkeypatch.chdir(other)
    with pytest.raises(ConfigError, match=f"there is no module trust_mine, neither installed nor in {mine}"):
        run_config(path)
    assert run_config(path, trusted=True).matcher.name == "trust_mine:Mine"


def test_a_record_is_of_one_path_and_one_content(mine, tmp_path):
    path = write(tmp_path / "run" / "config.yaml", NAMED)
    recorded(path)
    copied = write(tmp_path / "copy" / "config.yaml", NAMED)
    with pytest.raises(TrustError, match="no command here wrote it"):
        run_config(copied)
    write(path, {**NAMED, "matcher": {"name": "trust_mine:Other"}})
    with pytest.raises(TrustError, match="has changed since a command here wrote it"):
        run_config(path)
    write(path, {**NAMED, "seed": 1})
    with pytest.raises(TrustError, match="has changed"):
        run_config(path)
    assert not (mine / "imported").exists()
    write(path, NAMED)
    assert run_config(path).matcher.name == "trust_mine:Mine"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", "[" * 100_000, '{"folders": 3}', '{"folders": [3]}', '{"folders": []}', "\xff"],
)
def test_a_damaged_record_is_none(mine, tmp_path, content):
    path = write(tmp_path / "run" / "config.yaml", NAMED)
    recorded(path)
    (record,) = (tmp_path / "state").rglob("*.json")
    record.write_text(content, encoding="latin-1")
    with pytest.raises(TrustError):
        run_config(path)


def test_a_record_moved_to_another_file_proves_nothing(mine, tmp_path):
    path = write(tmp_path / "run" / "config.yaml", NAMED)
    recorded(path)
    other = write(tmp_path / "other" / "config.yaml", NAMED)
    (record,) = (tmp_path / "state").rglob("*.json")
    record.rename(trust._record(other))
    with pytest.raises(TrustError):
        run_config(other)


def test_records_of_many_writers_are_whole(mine, tmp_path):
    paths = [write(tmp_path / f"run{i % 4}" / "config.yaml", NAMED) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: trust.remember(path, read_config(path)), paths))
    records = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert sorted(json.loads(path.read_text())["file"] for path in records) == sorted(
        {str(path) for path in paths}
    )


def test_a_state_folder_that_cannot_be_written_is_a_warning(mine, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROBUSTCMR_STATE", str(tmp_path / "file"))
    path = write(tmp_path / "run" / "config.yaml", NAMED)
    with caplog.at_level(logging.WARNING):
        trust.remember(path, NAMED)
    assert f"commands on {path.parent} will ask for --trust" in caplog.text


def test_the_state_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("ROBUSTCMR_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert trust.state_folder() == tmp_path / "robustcmr"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert trust.state_folder() == tmp_path / "home" / ".local" / "state" / "robustcmr"


def test_a_recipe_is_a_file_like_any_other(mine):
    path = write(mine / "recipe.yaml", NAMED)
    for flags, overrides in (({}, []), ({"method.name": "infonce"}, []), ({}, ["matcher.dim=32"])):
        with pytest.raises(TrustError, match="names code to import"):
            compose(str(path), flags, overrides)
    assert not (mine / "imported").exists()


@pytest.mark.parametrize(
    ("flags", "overrides", "trusted"),
    [
        ({"matcher.name": "trust_mine:Mine"}, [], False),
        ({}, ["matcher.name=trust_mine:Mine"], False),
        ({}, ["matcher=trust_mine:Mine"], False),
        ({}, [], True),
    ],
)
def test_what_is_typed_is_imported_from_the_current_folder(mine, flags, overrides, trusted):
    path = write(mine / "recipe.yaml", {**NAMED, "matcher": {"name": "trust_mine:Mine"}})
    assert compose(str(path), flags, overrides, trusted).matcher.name == "trust_mine:Mine"


def test_a_recipe_name_that_is_replaced_is_never_imported(mine):
    (mine / "trust_mine.py").write_text(MINE + "\n\nclass Data:\n    track = 'pairs'\n")
    path = write(mine / "recipe.yaml", {"data": "trust_mine:Data", "matcher": "trust_mine:Mine"})
    config = compose(str(path), {"data.name": "scenes", "matcher.name": "omit"}, [])
    assert (config.data.name, config.matcher.name) == ("scenes", "omit")
    assert not (mine / "imported").exists()
