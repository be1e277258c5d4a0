"""Finding recipes by path and by name; every shipped one is valid and says how it is run."""

import itertools
import shlex

import pytest
import yaml
from typer.main import get_command

from robustcmr.cli.main import app
from robustcmr.config import recipes
from robustcmr.config.recipes import opening_comment, recipe_folder, recipe_names, recipe_path
from robustcmr.config.resolve import compose, read_config, resolve
from robustcmr.errors import ConfigError

SHIPPED = sorted(recipe_folder().glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_recipes_are_valid_and_open_with_their_command(path):
    assert path.suffix == ".yaml"
    command = next(line for line in opening_comment(path).splitlines() if line.startswith("robustcmr train "))
    words = shlex.split(command, comments=True)[2:]
    assert words[words.index("--config") + 1] in (path.stem, f"configs/{path.name}")
    # the command's options are understood, by the very parser that will read them
    train = get_command(app).commands["train"]
    given = train.make_context("train", words).params
    tree = read_config(path)
    if given["data_root"] is not None:
        assert isinstance(tree["data"], dict)
        tree["data"] = {**tree["data"], "root": str(given["data_root"])}
    resolve(tree)


COMMENTED = [path for path in SHIPPED if "\n#   data:\n" in path.read_text()]


@pytest.mark.parametrize("path", COMMENTED, ids=lambda path: path.name)
def test_what_stands_in_a_comment_is_valid_too(path):
    _, _, after = path.read_text().partition("\n#   data:\n")
    lines = list(itertools.takewhile(lambda line: line.startswith("#     "), after.splitlines()))
    shown = yaml.safe_load("\n".join(["data:", *(line.removeprefix("#   ") for line in lines)]))
    assert len(shown["data"]) > 1
    assert resolve({**read_config(path), **shown}).data.name == shown["data"]["name"]


@pytest.mark.parametrize("data", ["inria", "nuswide", "wikipedia", "xmedianet"])
def test_recipes_with_labels_say_only_what_their_track_does_not(data):
    config = compose(f"{data}_labels", {"noise.ratio": 0.4}, [])
    assert (config.data.name, config.matcher.name, config.method.name) == (data, "two_tower", "uot_rcl")
    assert (config.settings.noise.kind, config.settings.noise.protocol) == ("symmetric", "shared")
    default = resolve({"data": {"name": data, "root": "x"}}).settings
    tree = read_config(recipe_path(f"{data}_labels"))
    for section in set(tree) - {"data"}:
        for key, value in tree[section].items():
            assert getattr(getattr(default, section), key) != value, f"{section}.{key}"


def test_the_folder_is_the_one_beside_the_package_in_a_checkout():
    assert recipe_folder().name == "configs"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Two recipes that stand for the shipped ones."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "scenes_omit.yaml").write_text(
        "# Scenes with OMIT\n#   robustcmr train\n\n# not this\nseed: 3\n"
    )
    (folder / "f30k_omit.yaml").write_text("seed: 4\n")
    monkeypatch.setattr(recipes, "recipe_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_names(shipped):
    assert recipe_names() == ["f30k_omit", "scenes_omit"]


@pytest.mark.parametrize("given", ["scenes_omit", "scenes_omit.yaml"])
def test_by_name(shipped, given):
    assert recipe_path(given) == shipped / "scenes_omit.yaml"


def test_by_path(shipped, tmp_path):
    own = tmp_path / "own.yml"
    own.write_text("seed: 1\n")
    assert recipe_path(str(own)) == own
    assert recipe_path("own.yml").read_text() == "seed: 1\n"


def test_a_file_of_that_name_wins(shipped, tmp_path):
    (tmp_path / "scenes_omit.yaml").write_text("seed: 9\n")
    assert recipe_path("scenes_omit.yaml").read_text() == "seed: 9\n"


def test_unknown(shipped):
    with pytest.raises(ConfigError) as caught:
        recipe_path("scenes_omt")
    assert str(caught.value) == (
        "no configuration file scenes_omt and no shipped recipe of that name; did you mean 'scenes_omit'? "
        "(shipped: f30k_omit, scenes_omit)"
    )


def test_a_path_is_never_a_name(shipped):
    """From the folder of recipes this path would lead to one, but nobody asked from there."""
    with pytest.raises(ConfigError, match=r"no configuration file \.\./shipped/scenes_omit"):
        recipe_path("../shipped/scenes_omit")


def test_opening_comment(shipped):
    assert opening_comment(shipped / "scenes_omit.yaml") == "Scenes with OMIT\nrobustcmr train"
    assert opening_comment(shipped / "f30k_omit.yaml") == ""
