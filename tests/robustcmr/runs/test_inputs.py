"""``inputs.json``: what it says, and damage."""

from __future__ import annotations

import json

import pytest

from robustcmr.errors import RunFolderError
from robustcmr.runs.inputs import Preparation, RunInputs
from robustcmr.types import DataSpec

SPEC = DataSpec(8, 3, 20, 9, words=("<pad>", "a"), picture_size=(24, 32), text_width=5)
INPUTS = RunInputs(SPEC, True, Preparation((0.1, 2.0), (1.0, 3e-8)), Preparation(normalise=True))


def test_everything_but_the_words_comes_back(tmp_path):
    INPUTS.write(tmp_path / "inputs.json")
    found = RunInputs.read(tmp_path / "inputs.json")
    assert found.spec == DataSpec(8, 3, 20, 9, picture_size=(24, 32), text_width=5)
    assert (found.words, found.images, found.texts) == (True, INPUTS.images, INPUTS.texts)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tree: tree.pop("spec"), "spec is missing"),
        (lambda tree: tree["spec"].pop("feature_width"), "spec.feature_width is missing"),
        (
            lambda tree: tree["spec"].update(feature_width="8"),
            "spec.feature_width: expected a valid integer, got '8'",
        ),
        (
            lambda tree: tree["spec"].update(n_regions=-1),
            "spec.n_regions: expected greater than or equal to 0, got -1",
        ),
        (
            lambda tree: tree["spec"].update(picture_size=[0, 3]),
            "spec.picture_size.0: expected greater than 0",
        ),
        (lambda tree: tree.update(words="yes"), "words: expected a valid boolean"),
        (lambda tree: tree["images"].update(deviation=[1.0]), "images: 2 means and 1 deviations"),
        (lambda tree: tree["images"].update(deviation=[1.0, 0.0]), "deviation.1: expected greater than 0"),
        (lambda tree: tree["images"].update(mean=[1.0, float("nan")]), "mean.1: expected a finite number"),
        (lambda tree: tree.update(images=3), "images: expected a mapping"),
    ],
)
def test_damage_is_told(tmp_path, change, reason):
    path = tmp_path / "inputs.json"
    INPUTS.write(path)
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(RunFolderError, match=reason):
        RunInputs.read(path)


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"\xff", b"3", b"null"])
def test_what_is_no_such_file_is_told(tmp_path, content):
    path = tmp_path / "inputs.json"
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match="damaged"):
        RunInputs.read(path)
    path.unlink()
    with pytest.raises(RunFolderError, match="cannot read"):
        RunInputs.read(path)
