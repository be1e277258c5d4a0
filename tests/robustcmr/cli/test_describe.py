"""``list``, ``show``, ``validate`` and ``env``."""

import importlib.metadata
import json
import platform
import sys

import pytest
import yaml
from PIL import Image

from robustcmr import plugins
from robustcmr.config import recipes
from robustcmr.config.resolve import resolve


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A recipe that stands for the shipped ones."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "small.yaml").write_text("# A small run\n# robustcmr train --config small\nseed: 3\n")
    monkeypatch.setattr(recipes, "recipe_folder", lambda: folder)
    return folder


@pytest.fixture
def broken(monkeypatch):
    """A matcher whose module cannot be imported."""
    real = importlib.metadata.entry_points
    extra = importlib.metadata.EntryPoint("broken", "no.such.module:X", "robustcmr.matchers")
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: [*real(group=group), *([extra] if group == extra.group else [])],
    )


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("matchers", ["omit"]),
        ("matcher", ["omit"]),
        ("methods", ["hinge", "infonce", "rce"]),
        ("data", ["cc152k", "coco", "f30k", "f8k", "precomp", "scenes"]),
        ("datasets", ["scenes"]),
        ("configs", ["small"]),
    ],
)
def test_list(robustcmr, shipped, kind, names):
    outcome = robustcmr("list", kind)
    n_columns = 3 if kind in ("methods", "data", "datasets") else 2  # these have a track
    rows = [line.split(maxsplit=n_columns - 1) for line in outcome.out.splitlines()]
    lines = {row[0]: row[-1] for row in rows}
    assert outcome.code == 0
    assert outcome.err == ""
    assert set(names) <= set(lines)
    assert all(lines.values())
    assert all(row[1] in ("pairs", "labels") for row in rows if n_columns == 3)
    as_json = robustcmr("list", kind, "--json")
    assert json.loads(as_json.out) == lines


@pytest.mark.parametrize(
    ("kind", "tracks"),
    [
        ("methods", {"l2rm": "pairs", "hinge": "pairs", "mrl": "labels", "label_ce": "labels"}),
        ("data", {"scenes": "pairs", "f30k": "pairs", "scenes-labels": "labels", "nuswide": "labels"}),
    ],
)
def test_list_shows_the_track_in_a_column_of_its_own(robustcmr, kind, tracks):
    lines = robustcmr("list", kind).out.splitlines()
    shown = {line.split()[0]: line.split()[1] for line in lines}
    assert {name: shown[name] for name in tracks} == tracks
    (column,) = {line.index(line.split()[1], len(line.split()[0])) for line in lines}
    assert column > max(map(len, shown))


def test_list_where_a_data_set_says_no_track(robustcmr, monkeypatch):
    from robustcmr.data.scenes import Scenes

    class Odd(Scenes):
        """Odd."""

        track = None

    monkeypatch.setitem(plugins.datasets._registered, "odd", Odd)
    (line,) = (line for line in robustcmr("list", "data").out.splitlines() if line.startswith("odd "))
    assert line.split() == ["odd", "None", "Odd."]
    assert "\ntrack: None, which is none of pairs, labels\n" in robustcmr("show", "odd").out


def test_list_of_nothing(robustcmr, monkeypatch):
    monkeypatch.setattr(plugins.methods, "names", lambda: [])
    assert (robustcmr("list", "methods").out, robustcmr("list", "methods").code) == ("", 0)


def test_list_shows_the_opening_line_of_a_recipe(robustcmr, shipped):
    assert robustcmr("list", "configs").out == "small  A small run\n"


def test_list_on_a_terminal_is_as_wide_as_the_terminal(robustcmr, monkeypatch, terminal):
    monkeypatch.setenv("COLUMNS", "40")
    stream = terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        robustcmr("list", "methods")
    lines = stream.getvalue().splitlines()
    assert any(line.startswith("hinge") for line in lines)
    assert len(lines) > 3
    assert all(len(line) <= 40 for line in lines)


def test_list_skips_what_is_broken_and_says_why(robustcmr, broken):
    outcome = robustcmr("list", "matchers", "--json")
    assert outcome.code == 0
    assert "omit" in json.loads(outcome.out)
    assert "broken" not in json.loads(outcome.out)
    assert outcome.err == (
        "robustcmr: skipped: matcher 'broken' cannot be loaded from no.such.module:X: "
        "there is no module no; install the package that announces it again\n"
    )


def test_list_of_an_unknown_kind(robustcmr):
    outcome = robustcmr("list", "matchrs")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "robustcmr: unknown kind 'matchrs', expected matchers, methods, data, configs or sweeps; "
        "did you mean 'matchers'?\n"
    )


@pytest.mark.parametrize(
    "words", [["omit"], ["matcher", "omit"], ["matchers", "robustcmr.matchers.omit:Omit"]]
)
def test_show_describes_every_option(robustcmr, words):
    outcome = robustcmr("show", *words)
    assert outcome.code == 0
    assert outcome.out.startswith(f"matcher {words[-1]}  (robustcmr.matchers.omit.Omit)\n")
    for option in plugins.matchers.load("omit").Config.model_fields:
        assert f"matcher.{option} " in outcome.out  # in full, however narrow the page
    assert "none | global_full |" in outcome.out


def test_show_tells_the_track_and_what_it_takes_by_default(robustcmr):
    assert "\ntrack: pairs\n\n" in robustcmr("show", "l2rm").out
    assert "\ntrack: labels\n\n" in robustcmr("show", "mrl").out
    assert "track:" not in robustcmr("show", "omit").out
    _, _, labels = robustcmr("show", "nuswide").out.partition("\ntrack: labels\n")
    assert labels.startswith("defaults of a run on it:\n  matcher: two_tower\n  method: uot_rcl\n")
    assert {"  optim.betas: [0.5, 0.999]", "  optim.milestones: []", "  training.epochs: 25"} <= set(
        labels.splitlines()
    )
    _, _, pairs = robustcmr("show", "f30k").out.partition("\ntrack: pairs\n")
    assert pairs.startswith(
        "defaults of a run on it:\n  matcher: omit\n  method: robust\n  noise.kind: mismatch\n"
        "  noise.protocol: caption\n\n"
    )


def test_show_a_plugin_without_options(robustcmr, monkeypatch):
    from robustcmr.methods.baseline import Hinge
    from robustcmr.options import Options

    class Bare(Hinge):
        """It has [brackets] and no options."""

        Config = Options

    monkeypatch.setitem(plugins.methods._registered, "bare", Bare)
    outcome = robustcmr("show", "bare")
    assert outcome.out.endswith("It has [brackets] and no options.\n\ntrack: pairs\n\nno options\n")


def test_show_a_recipe_is_the_recipe(robustcmr, shipped):
    for words in (["small"], ["config", "small"]):
        assert robustcmr("show", *words).out == (shipped / "small.yaml").read_text()


def test_show_data_writes_a_contact_sheet(robustcmr, few_scenes, tmp_path):
    path = tmp_path / "out" / "sheet.png"
    outcome = robustcmr("show", "data", few_scenes, "--count", "4", "-o", path)
    assert outcome.code == 0
    assert outcome.out.endswith(f"wrote {path}: 4 pictures of {few_scenes} train with their captions\n")
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        four = sheet.size
    smaller = tmp_path / "one.png"
    assert robustcmr("show", "data", few_scenes, "--count", "1", "--output", smaller).code == 0
    with Image.open(smaller) as sheet:
        assert sheet.width < four[0]


def test_show_data_names_the_sheet_itself(robustcmr, few_scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = robustcmr("show", "data", few_scenes, "--split", "test", "--count", "50")
    assert "wrote few-scenes-test.png: 3 pictures of few-scenes test" in outcome.out
    assert (tmp_path / "few-scenes-test.png").is_file()


def test_show_data_where_the_sheet_cannot_go(robustcmr, few_scenes, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = robustcmr("show", "data", few_scenes, "-o", tmp_path / "file" / "sheet.png")
    assert outcome.code == 2
    assert outcome.err.startswith(f"robustcmr: cannot write {tmp_path / 'file' / 'sheet.png'}: ")


def test_show_data_of_an_unknown_split(robustcmr, few_scenes):
    outcome = robustcmr("show", "data", few_scenes, "--split", "tests")
    assert outcome.code == 2
    assert "scenes has no split 'tests'; expected one of train, dev, test" in outcome.err


def test_show_data_without_pictures_lists_captions(robustcmr, data_folder):
    outcome = robustcmr("show", "data", "precomp", "--data-root", data_folder, "--count", "2")
    captions = (data_folder / "train_caps.txt").read_text().splitlines()
    listed = outcome.out.partition("image 0\n")[2].splitlines()
    assert outcome.code == 0
    assert listed == [*(f"  {c}" for c in captions[:5]), "image 1", *(f"  {c}" for c in captions[5:10])]
    assert outcome.err == "precomp holds features without pictures, so there is no contact sheet\n"


def test_show_labelled_data_with_pictures(robustcmr, few_labels, tmp_path):
    path = tmp_path / "sheet.png"
    outcome = robustcmr("show", "data", few_labels, "--split", "dev", "--count", "20", "-o", path)
    assert outcome.code == 0, outcome.err
    assert outcome.out.endswith(f"wrote {path}: 9 pictures of {few_labels} dev with their captions\n")
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"


def test_show_labelled_data_without_pictures_tells_the_classes(robustcmr, labelled_folder):
    outcome = robustcmr("show", "data", "labelled", "--data-root", labelled_folder, "--count", "3")
    assert outcome.code == 0, outcome.err
    assert outcome.out.endswith(
        "image 0\n  class: class 0\nimage 1\n  class: class 1\nimage 2\n  class: class 2\n"
    )
    assert "so there is no contact sheet" in outcome.err


def test_captions_of_labelled_data_stand_below_its_class(robustcmr, monkeypatch, few_labels):
    import dataclasses

    opened = plugins.datasets.load(few_labels).split
    monkeypatch.setattr(
        plugins.datasets.load(few_labels),
        "split",
        lambda self, name: dataclasses.replace(opened(self, name), picture=None),
    )
    lines = robustcmr("show", "data", few_labels, "--count", "1").out.partition("image 0\n")[2].splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("  class: ")
    assert " . " in lines[1]


def test_show_data_uses_the_names_of_images(robustcmr, data_folder):
    (data_folder / "train_ids.txt").write_text("".join(f"name{i}.jpg\n" for i in range(40)))
    outcome = robustcmr("show", "data", "precomp", "--data-root", data_folder, "--count", "1")
    assert "\nname0.jpg\n  a picture of" in outcome.out


def test_show_data_without_its_folder_describes_it_and_says_what_is_missing(robustcmr):
    outcome = robustcmr("show", "data", "f30k")
    assert outcome.code == 0
    assert "data.root" in outcome.out
    assert outcome.err == "name the folder of f30k with --data-root to see its captions\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["omitt"], "nothing is called 'omitt'; did you mean 'omit'? (see 'robustcmr list')"),
        (["smal"], "nothing is called 'smal'; did you mean 'small'?"),
        (["data", "scnes"], "unknown data set 'scnes'; did you mean 'scenes'?"),
        (
            ["dtaa", "scenes"],
            "unknown kind 'dtaa', expected matchers, methods, data, configs or sweeps; did you mean 'data'?",
        ),
        (["config", "smal"], "no configuration file smal and no shipped recipe of that name; did you mean"),
        (["data", "scenes", "train"], "show takes a name, or a kind and a name, got data scenes train"),
    ],
)
def test_show_of_unknown_things(robustcmr, shipped, words, message):
    outcome = robustcmr("show", *words)
    assert outcome.code == 2
    assert outcome.err.startswith(f"robustcmr: {message}")
    assert len(outcome.err.splitlines()) == 1


def test_validate_prints_the_resolved_recipe(robustcmr, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("method: infonce\nnoise: {ratio: 0.2}\n")
    outcome = robustcmr("validate", path)
    assert outcome.code == 0
    assert outcome.err == f"{path} is valid: omit + infonce on scenes\n"
    assert resolve(yaml.safe_load(outcome.out)) == resolve(yaml.safe_load(path.read_text()))


def test_validate_fills_in_the_defaults_of_the_track(robustcmr, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("data: scenes-labels\nmethod: mrl\noptim: {lr: 0.5}\n")
    outcome = robustcmr("validate", path)
    assert outcome.err == f"{path} is valid: two_tower + mrl on scenes-labels\n"
    tree = yaml.safe_load(outcome.out)
    assert (tree["noise"]["kind"], tree["noise"]["protocol"]) == ("symmetric", "shared")
    assert (tree["optim"]["lr"], tree["optim"]["betas"], tree["optim"]["schedule"]) == (
        0.5,
        [0.5, 0.999],
        "cosine",
    )
    assert tree["training"]["epochs"] == 25
    assert resolve(tree) == resolve(yaml.safe_load(path.read_text()))


def test_validate_lists_every_problem(robustcmr, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("method: infonc\noptim: {lrr: 2}\n")
    outcome = robustcmr("validate", path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "method.name: unknown method 'infonc'; did you mean 'infonce'?" in outcome.err
    assert "optim.lrr: unknown key; did you mean 'optim.lr'?" in outcome.err


def test_env(robustcmr):
    as_json = json.loads(robustcmr("env", "--json").out)
    assert as_json["python"] == platform.python_version()
    assert set(as_json["packages"]) >= {"robustcmr", "torch", "numpy"}
    text = robustcmr("env").out
    for key in as_json:
        assert f"{key:14s} " in text
    assert f"torch {as_json['packages']['torch']}" in text
