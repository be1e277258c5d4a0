"""``robustcmr data check``."""

import json

import numpy as np
import pytest
from PIL import Image


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
    assert outcome.err == f"robustcmr: there is no file or folder {tmp_path / 'gone'}; check the path\n"


def test_a_folder_of_no_known_layout(robustcmr, tmp_path):
    (tmp_path / "cat.jpg").write_text("")
    outcome = robustcmr("data", "check", tmp_path)
    assert outcome.code == 2
    assert "is of no format that is read (the folder holds cat.jpg)" in outcome.err


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


# labelled features


def rows_of(out):
    """Cells of the tables' rows, by the first cell."""
    lines = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_labelled_features_are_known_by_their_files(robustcmr, labelled_folder):
    outcome = robustcmr("data", "check", labelled_folder)
    assert (outcome.code, outcome.err) == (0, "")
    rows = rows_of(outcome.out)
    assert rows["train"][0] == "9"
    assert rows["train"][1].startswith("5 numbers, ")
    assert rows["train"][2].startswith("4 numbers, ")
    assert (rows["class 0"], rows["class 2"]) == (["3", "2", "2"], ["3", "2", "2"])
    assert outcome.out.endswith("no problem found\n")


def test_labelled_features_as_json(robustcmr, labelled_folder):
    report = json.loads(robustcmr("data", "check", labelled_folder, "--json", "--data", "labelled").out)
    assert report["ok"] is True
    assert report["class_names"] == ["class 0", "class 1", "class 2"]
    assert [split["class_counts"] for split in report["splits"]] == [[3, 3, 3], [2, 2, 2], [2, 2, 2]]
    assert report["splits"][0]["image"]["shape"] == [9, 1, 5]


def test_published_sizes_of_labelled_data(robustcmr, labelled_folder):
    for name in ("train", "dev", "test"):
        columns = dict(np.load(labelled_folder / f"{name}.npz"))
        more = {key: np.concatenate([column] * 4) for key, column in columns.items()}
        more["label"] = np.arange(len(more["label"])) % 10
        np.savez(labelled_folder / f"{name}.npz", **more)
    outcome = robustcmr("data", "check", labelled_folder, "--data", "wikipedia")
    assert outcome.code == 0
    assert "warning: train: 36 pairs; the published split has 2173\n" in outcome.out
    assert rows_of(outcome.out)["warfare"] == ["3", "2", "2"]


def test_damaged_labelled_data_leaves_question_marks(robustcmr, labelled_folder):
    (labelled_folder / "test.npz").write_bytes(b"nothing of use")
    outcome = robustcmr("data", "check", labelled_folder)
    assert outcome.code == 1
    rows = rows_of(outcome.out)
    assert rows["test"] == ["?"] * 4
    assert rows["class 0"] == ["3", "2"]
    assert outcome.out.splitlines()[-1].startswith("PROBLEM: test: ")


def test_where_no_labelled_split_opens(robustcmr, labelled_folder):
    (labelled_folder / "train.npz").write_bytes(b"nothing of use")
    outcome = robustcmr("data", "check", labelled_folder)
    assert outcome.code == 1
    assert set(rows_of(outcome.out)) == {"train", "dev", "test"}
    assert outcome.out.count("PROBLEM: ") == 1


def test_options_of_the_data_set_can_be_told(robustcmr, labelled_folder):
    """One file, whose arrays have other names."""
    columns = np.load(labelled_folder / "train.npz")
    one = labelled_folder / "all.npz"
    np.savez(one, a=columns["image"], b=columns["text"], c=columns["label"])
    outcome = robustcmr("data", "check", one)
    assert outcome.code == 2
    assert "all.npz is one file" in outcome.err
    told = ["data.image=a", "data.text=b", "data.label=c", "data.split_sizes={train: 6, dev: null}"]
    outcome = robustcmr("data", "check", one, *(word for text in told for word in ("--set", text)))
    assert outcome.code == 0, outcome.err
    assert [rows_of(outcome.out)[name][0] for name in ("train", "dev")] == ["6", "3"]


def test_options_reach_any_data_set(robustcmr, data_folder):
    outcome = robustcmr(
        "data", "check", data_folder, "--data", "precomp", "--set", "data.captions_per_image=4"
    )
    assert outcome.code == 1
    outcome = robustcmr("data", "check", data_folder, "--data", "precomp", "--set", "data.x=4")
    assert outcome.err.startswith("robustcmr: data.x: unknown key")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--set", "data.x=1"],
            "--set needs the name of the data set whose options it sets, such as --data precomp",
        ),
        (
            ["--data", "precomp", "--set", "optim.lr=1"],
            "--set optim is no option of the data set, expected such as --set data.image=X",
        ),
    ],
)
def test_overrides_that_fit_nothing(robustcmr, data_folder, words, message):
    outcome = robustcmr("data", "check", data_folder, *words)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"robustcmr: {message}\n")


def test_a_vocabulary_beside_labelled_data(robustcmr, labelled_folder):
    outcome = robustcmr("data", "check", labelled_folder, "--vocabulary", "words.json")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "robustcmr: --vocabulary is for captions and this is labelled data; leave it out\n"


@pytest.fixture
def pictures_folder(tmp_path):
    """A folder of pictures whose captions also name what no folder can have, and a file outside."""
    root = tmp_path / "pictures"
    (root / "images").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), "red").save(root / "images" / name)
    (tmp_path / "private.txt").write_text("a secret")
    (root / "images/link.png").symlink_to(tmp_path / "private.txt")
    names = ["a.png", "b.png", "nul\0.png", "x" * 5000, "link.png"]
    (root / "train_caps.tsv").write_text("".join(f"{name}\ta caption\n" for name in names))
    (root / "dev_caps.tsv").write_text("a.png\ta caption\n")
    return root


def test_bad_picture_names_are_one_sentence_in_check_and_training(robustcmr, pictures_folder, clip_folder):
    checked = robustcmr("data", "check", pictures_folder)
    trained = robustcmr(
        *("train", "--data", "images", "--data-root", pictures_folder, "--matcher", "clip"),
        *("--set", f"matcher.weights={clip_folder}", "--output", pictures_folder / "run"),
    )
    (problem,) = [line for line in checked.out.splitlines() if line.startswith("PROBLEM: ")]
    assert (checked.code, checked.err, trained.code) == (1, "", 2)
    assert problem.removeprefix("PROBLEM: train: ") == trained.err.strip().removeprefix("robustcmr: ")
    for part in ("3 of 5 pictures", "nul\\x00.png: ", "null byte", "... (5,000 letters): file name too long"):
        assert part in problem
    assert "link.png: it is a link to " in problem
    assert "secret" not in checked.out + trained.err
    assert not (pictures_folder / "run").exists()
    options = ("--data", "images", "--set", "data.broken=skip")
    assert robustcmr("data", "check", pictures_folder, *options).code == 0


def test_export(robustcmr, few_scenes, tmp_path):
    outcome = robustcmr("data", "export", few_scenes, tmp_path / "shop", "--noise", "0.5", "--json")
    done = json.loads(outcome.out)
    assert (done["images"], done["pairs"], done["wrong"]) == (6, 30, 15)
    assert (tmp_path / "shop" / "captions.csv").is_file()
    assert np.load(done["regions"]).shape == (6, 12, 436)
    again = robustcmr("data", "export", few_scenes, tmp_path / "shop")
    assert again.code == 2
    assert "already there" in again.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("few-scenes", "shop", "--noise", "30%"), "--noise is '30%', expected a number such as 0.5"),
        (("few-scenes", "shop", "--noise", "2"), "ratio"),
        (("few-scenes", "shop", "--split", "tran"), "no split 'tran'"),
        (("few-scenes", "shop", "--set", "optim.lr=1"), "--set optim is no option of the data set"),
        (("scene", "shop"), "did you mean"),
        (("few-labels", "shop"), "few-labels holds labelled data"),
    ],
)
def test_an_export_that_cannot_be(robustcmr, few_scenes, few_labels, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    outcome = robustcmr("data", "export", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "shop").exists()


@pytest.fixture
def table(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "web.parquet"
    captions = ["a red star", "", "a [bold]blue\x1b star"]
    pq.write_table(pa.table({"uid": ["a", "b", "c"], "url": ["https://x/1"] * 3, "caption": captions}), path)
    return path


def test_any_source_of_pairs(robustcmr, table):
    outcome = robustcmr("data", "check", table)
    assert outcome.code == 1
    assert outcome.err == ""
    for words in ("used as", "3 pairs of 1 different image", "a red star", "by its address alone"):
        assert words in outcome.out
    assert "PROBLEM: 1 pair: empty caption, first web.parquet row 1" in outcome.out
    assert "[bold]blue\\x1b star" in outcome.out
    found = json.loads(robustcmr("data", "check", table, "--json").out)
    assert (found["ok"], found["pairs"], found["format"]) == (False, 3, "parquet")


def test_a_source_without_problems(robustcmr, table):
    outcome = robustcmr("data", "check", table, "--where", "uid <> 'b'", "--samples", "1")
    assert outcome.code == 0
    assert "no problem found" in outcome.out
    assert "blue" not in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("TABLE", "--text", "captoin"), "did you mean 'caption'?"),
        (("TABLE", "--where", "widht > 3"), "widht"),
        (("TABLE", "--format", "parket"), "did you mean 'parquet'?"),
        (("TABLE", "--data", "f8k", "--text", "caption"), "--data is for a folder of features and --text"),
        (("TABLE", "TABLE", "--data", "f8k"), "--data goes with one folder and 2 were given"),
        (("gone.parquet",), "there is no file or folder gone.parquet"),
        (("*.parket",), "no file matches '*.parket'"),
    ],
)
def test_a_source_that_cannot_be_checked(robustcmr, table, words, message):
    outcome = robustcmr("data", "check", *(str(table) if word == "TABLE" else word for word in words))
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
