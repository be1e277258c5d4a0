"""The matcher of a run that names none follows from its data, and all that is missing is named at once."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustcmr.config.resolve import compose, resolve
from robustcmr.errors import ConfigError


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for split in ("train", "dev"):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "images" / f"{split}.png")
        (tmp_path / f"{split}_caps.tsv").write_text(f"{split}.png\ta caption\n")
    return tmp_path


def test_pictures_are_read_by_clip(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree = {"data": {"name": "images", "root": str(pictures)}, "matcher": {"weights": "some/model"}}
    with caplog.at_level(logging.INFO, "robustcmr"):
        assert resolve(tree).matcher.name == "clip"
    assert "the matcher is clip, as there are pictures; --matcher names another" in caplog.text


def test_a_named_matcher_and_its_options_win(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = {"name": "images", "root": str(pictures)}
    omit = {"image_encoder": "clip", "image_weights": "some/model"}  # options that CLIP does not have
    with caplog.at_level(logging.INFO, "robustcmr"):
        assert resolve({"data": data, "matcher": omit}).matcher.name == "omit"
        assert resolve({"data": data, "matcher": "embeddings"}).matcher.name == "embeddings"
    assert "the matcher is" not in caplog.text
    assert resolve({"data": "scenes"}).matcher.name == "omit"


def test_options_of_a_recipe_without_a_name_are_kept(pictures: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data:\n  name: images\n  root: {pictures}\nmatcher: {{weights: a/b}}\n")
    for flags in ({}, {"matcher.name": "clip"}):
        options: Any = compose(str(recipe), flags, []).matcher.options
        assert options.weights == "a/b"


@pytest.mark.parametrize("data", ["images", {"name": "images", "root": "nowhere"}])
def test_all_that_is_missing_is_named_at_once(data: object) -> None:
    with pytest.raises(ConfigError) as raised:
        resolve({"data": data, "training": {"epochs": 0}})
    told = str(raised.value)
    assert told.startswith("3 problems in the configuration")
    assert "data.root: " in told
    assert "matcher.weights: missing, set it with --set matcher.weights=openai/clip" in told
    assert "training.epochs" in told


def test_a_missing_split_is_named_with_the_rest(pictures: Path) -> None:
    (pictures / "dev_caps.tsv").unlink()
    data = {"name": "images", "root": str(pictures)}
    for matcher in ({}, {"name": "clip"}):
        with pytest.raises(ConfigError, match="2 problems") as raised:
            resolve({"data": data, "matcher": matcher})
        assert "got 'dev', and the data has train alone; add the files of dev" in str(raised.value)
        assert "matcher.weights: missing" in str(raised.value)


def test_a_named_matcher_does_not_hide_what_is_wrong_with_the_data() -> None:
    with pytest.raises(ConfigError, match="2 problems") as raised:
        resolve({"data": {"name": "images", "root": "nowhere"}, "matcher": "clip"})
    assert "nowhere does not exist" in str(raised.value)
