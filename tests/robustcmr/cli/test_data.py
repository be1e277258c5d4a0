"""``robustcmr data check``."""

import json

import numpy as np
import pytest


def test_a_good_folder(robustcmr, data_folder):
    outcome = robustcmr("data", "check", data_folder)
    assert outcome.code == 0
    assert outcome.err == ""
    for word in ("train", "dev", "test", "float32", "40", "200", "no problem found", "fingerprint"):
        assert word in outcome.out
    assert (
        max(map(len, outcome.out.splitlines())) > 80
    )  # nothing is squeezed for a reader that is no terminal


def test_as_json(robustcmr, data_folder):
    outcome = robustcmr("data", "check", data_folder, "--json")
    report = json.loads(outcome.out)
    assert outcome.code == 0
    assert report["ok"] is True
    assert [split["name"] for split in report["splits"]] == ["train", "dev", "test"]
    assert report["splits"][0]["features"]["shape"] == [40, 3, 8]


@pytest.fixture
def damaged(data_folder):
    features = np.load(data_folder / "train_ims.npy")
    features[7, 1, 2] = np.nan
    np.save(data_folder / "train_ims.npy", features)
    (data_folder / "dev_ims.npy").unlink()
    return data_folder


def test_problems_are_all_listed_and_tell_by_the_exit_code(robustcmr, damaged):
    outcome = robustcmr("data", "check", damaged)
    assert outcome.code == 1
    assert "no problem found" not in outcome.out
    problems = [line for line in outcome.out.splitlines() if line.startswith("PROBLEM: ")]
    assert len(problems) == 2
    assert any("dev_ims.npy" in line for line in problems)
    assert any("7" in line and "train" in line for line in problems)


def test_problems_as_json(robustcmr, damaged):
    outcome = robustcmr("data", "check", damaged, "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)["ok"] is False
    assert len(json.loads(outcome.out)["problems"]) == 2


def test_a_damaged_file_leaves_question_marks(robustcmr, data_folder):
    (data_folder / "test_ims.npy").write_bytes(b"nothing of use")
    (data_folder / "train_caps.txt").write_text("")
    outcome = robustcmr("data", "check", data_folder)
    assert outcome.code == 1
    assert "?" in outcome.out
    assert "train_caps.txt is empty" in outcome.out
    assert "test_ims.npy is not a readable .npy file" in outcome.out


def test_no_folder(robustcmr, tmp_path):
    outcome = robustcmr("data", "check", tmp_path / "gone")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        f"robustcmr: there is no folder {tmp_path / 'gone'}; "
        "name one with precomputed features and captions\n"
    )


def test_a_folder_of_no_known_layout(robustcmr, tmp_path):
    (tmp_path / "cat.jpg").write_text("")
    outcome = robustcmr("data", "check", tmp_path)
    assert outcome.code == 2
    assert "is of no known layout, it has cat.jpg" in outcome.err


def test_as_a_published_data_set(robustcmr, data_folder):
    outcome = robustcmr("data", "check", data_folder, "--data", "f8k")
    assert "6,000" in outcome.out or "6000" in outcome.out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("f8kk", "data.name: unknown data set 'f8kk'; did you mean 'f8k'?"),
        ("scenes", "data.root: unknown key"),
    ],
)
def test_as_something_it_cannot_be(robustcmr, data_folder, name, message):
    outcome = robustcmr("data", "check", data_folder, "--data", name)
    assert outcome.code == 2
    assert outcome.err.startswith(f"robustcmr: {message}")


def test_with_a_vocabulary(robustcmr, data_folder, tmp_path):
    from robustcmr.data.vocabulary import Vocabulary

    Vocabulary.build(["a picture of and"]).save(tmp_path / "words.json")
    outcome = robustcmr("data", "check", data_folder, "--vocabulary", tmp_path / "words.json")
    assert "% known" in outcome.out


def test_repeated_captions_and_strange_names(robustcmr, make_folder, tmp_path):
    """Nothing that users write is taken for markup."""
    folder = make_folder(tmp_path / "odd", {"train": 5, "[bold]dev": 3, "[x]": 3})
    (folder / "train_caps.txt").write_text("the same caption\n" * 25)
    outcome = robustcmr("data", "check", folder)
    assert "train: 24 captions repeat an earlier one" in outcome.out
    first_cells = [line.split()[1] for line in outcome.out.splitlines() if line.startswith("│")]
    assert sorted(first_cells) == ["[bold]dev", "[x]", "train"]
