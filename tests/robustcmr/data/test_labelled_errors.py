"""What the reader of labelled features answers to bad input: one sentence each."""

from __future__ import annotations

import importlib
import io
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io

from robustcmr.data.array_files import array_names, kind_of, read_array
from robustcmr.data.labelled import Labelled, Wikipedia
from robustcmr.errors import DataError

N, K = 9, 3


def pairs():
    rng = np.random.default_rng(4)
    return {"image": rng.normal(size=(N, 5)), "text": rng.normal(size=(N, 4)), "label": np.arange(N) % K}


def save(path, **changes):
    arrays = {name: array for name, array in {**pairs(), **changes}.items() if array is not None}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


def complaint(root, split="train", cls=Labelled, **options):
    """The one sentence that opening a split is answered with."""
    with pytest.raises(DataError) as caught:
        cls(cls.Config(root=root, **options)).split(split)
    text = str(caught.value)
    assert "\n" not in text
    assert not text.endswith(".")
    return text


def with_value(name, value, *places):
    array = pairs()[name].astype(np.float64)
    for place in places:
        array[place] = value
    return {name: array}


def test_no_such_folder(tmp_path):
    assert complaint(tmp_path / "none").endswith(
        "none does not exist; name a folder or file of labelled features with --data-root"
    )
    assert complaint(tmp_path / "none", split_file="x").endswith("with --data-root")


def test_a_folder_without_splits(tmp_path):
    assert "has no file in it; expected train, dev and test as .npz, .mat or .h5" in complaint(tmp_path)
    save(tmp_path / "dev.npz")
    assert "has no train split, which defines the classes; it has dev" in complaint(tmp_path)


def test_unknown_split(tmp_path):
    save(tmp_path / "train.npz")
    assert complaint(tmp_path, "tset").endswith("has no split 'tset'; it has train")


def test_two_files_of_a_split(tmp_path):
    save(tmp_path / "train.npz")
    save(tmp_path / "train.mat")
    assert complaint(tmp_path).endswith("has train.mat and train.npz; keep one file of a split")


def test_one_file_without_a_word_on_splits(tmp_path):
    text = complaint(save(tmp_path / "all.npz"))
    assert (
        "is one file, with image 9x5, text 9x4, label 9; define train, dev and test by splits, split_file "
        "or split_sizes" in text
    )


def test_a_folder_cannot_be_divided(tmp_path):
    save(tmp_path / "train.npz")
    assert "is a folder, but split_file and split_sizes divide one file" in complaint(
        tmp_path, split_sizes={"train": 3}
    )


def test_files_that_are_named_but_missing(tmp_path):
    save(tmp_path / "train.npz")
    text = complaint(tmp_path, splits={"train": {}, "dev": {"file": "val.npz"}})
    assert text.endswith(f"there is no file {tmp_path / 'val.npz'}; {tmp_path} has train.npz")
    text = complaint(tmp_path, splits={"train": {}, "dev": {}})
    assert "has no file for the dev split, it has train.npz; expected dev.npz, dev.mat or dev.h5" in text


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5"])
def test_a_missing_array_is_answered_with_those_there(tmp_path, suffix):
    save(tmp_path / f"train{suffix}", text=None, txt=np.zeros((9, 7)))
    text = complaint(tmp_path)
    assert "has no array 'text'; it has " in text
    for entry in ("image 9x5", "txt 9x7", "label 1x9" if suffix == ".mat" else "label 9"):
        assert entry in text


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_truncated_files(tmp_path, suffix, kept):
    big = np.random.default_rng(0).normal(size=(N, 3000))
    path = save(tmp_path / f"train{suffix}", image=big)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    text = complaint(tmp_path)
    # MATLAB files are read one array after the other: what is cut off may simply not be there
    assert "is truncated or damaged" in text or (suffix == ".mat" and "has no array" in text)


@pytest.mark.parametrize(
    ("content", "state"), [(b"", "is empty"), (b"class,feature\n1,0.5\n", "is of an unknown kind")]
)
def test_files_of_no_kind(tmp_path, content, state):
    (tmp_path / "train.h5").write_bytes(content)
    assert complaint(tmp_path).endswith(f"train.h5 {state}; expected a .npz, .mat or HDF5 file")


def test_a_text_that_calls_itself_mat(tmp_path):
    (tmp_path / "train.mat").write_bytes(b"class,feature\n1,0.5\n" * 9)
    assert "train.mat is truncated or damaged" in complaint(tmp_path)


class Bomb:
    """Unpickling one would be noticed."""

    def __reduce__(self):
        return eval, ("1/0",)


def test_objects_are_never_unpickled(tmp_path):
    save(tmp_path / "train.npz", label=np.array([Bomb()] * N, dtype=object))
    assert "holds Python objects, which are never unpickled, under 'label'" in complaint(tmp_path)


def test_arrays_of_something_else(tmp_path):
    save(tmp_path / "train.npz", image=np.full((N, 5), "x"))
    assert "holds text under 'image'; expected an array of plain numbers" in complaint(tmp_path)
    save(tmp_path / "train.npz", image=np.full((N, 5), 1j))
    assert "holds complex numbers under 'image'" in complaint(tmp_path)
    (tmp_path / "train.npz").unlink()
    cells = np.empty(N, dtype=object)
    cells[:] = [np.zeros(2)] * N
    save(tmp_path / "train.mat", image=cells)
    assert "holds a MATLAB cell under 'image'; expected an array of plain numbers" in complaint(tmp_path)
    (tmp_path / "train.mat").unlink()
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["label"], file["text"], file["image/red"] = pairs()["label"], pairs()["text"], np.zeros(3)
    assert "has no array 'image'; it has image/red 3, label 9, text 9x4" in complaint(tmp_path)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["label"] = ["cat"] * N
    assert "holds objects under 'label'; expected an array of plain numbers" in complaint(tmp_path)


def test_h5py_is_asked_for(tmp_path, monkeypatch):
    save(tmp_path / "train.h5")
    real = importlib.import_module

    def without(name, *rest):
        if name == "h5py":
            raise ModuleNotFoundError("No module named 'h5py'", name="h5py")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    assert complaint(tmp_path).endswith(
        "train.h5 is an HDF5 file, which needs the package h5py; install it with "
        "pip install 'robustcmr[labels]'"
    )
    with pytest.raises(DataError, match="needs the package h5py"):
        array_names(tmp_path / "train.h5")


def test_counts_that_do_not_fit(tmp_path):
    save(tmp_path / "train.npz", text=np.zeros((8, 4)))
    text = complaint(tmp_path)
    assert "'text' of" in text
    assert "has shape 8x4 but 'label' of" in text
    assert text.endswith("has 9 labels; expected one vector a label")
    save(tmp_path / "train.npz")
    assert "has shape 9x5, with transposed: true, but" in complaint(tmp_path, transposed=True)


@pytest.mark.parametrize("shape", [(N,), (N, 2, 2), (N, 0)])
def test_features_that_are_no_vectors(tmp_path, shape):
    save(tmp_path / "train.npz", image=np.zeros(shape))
    assert f"has shape {shape}; expected (pairs, numbers a vector)" in complaint(tmp_path)


def test_widths_that_differ(tmp_path):
    save(tmp_path / "train.npz")
    save(tmp_path / "dev.npz", text=np.zeros((N, 3)))
    assert complaint(tmp_path, "dev") == (
        "the dev split has text vectors of 3 numbers, the train split of 4; expected the same width"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_none(tmp_path, value):
    save(tmp_path / "train.npz")
    save(tmp_path / "dev.npz", **with_value("text", value, (2, 1), (7, 0), (7, 3)))
    text = complaint(tmp_path, "dev")
    assert text.startswith("2 of 9 text vectors of the dev split hold NaN or infinity: rows 2, 7 of 'text'")


def test_labels_out_of_range(tmp_path):
    save(tmp_path / "train.npz")
    save(tmp_path / "dev.npz", **with_value("label", 3, 4))
    assert "has 1 labels outside 0..2: 3 at row 4; expected one of 3 classes" in complaint(tmp_path, "dev")
    save(tmp_path / "dev.npz", **with_value("label", -1, 0, 8))
    assert "has 2 labels outside 0..2: -1 at row 0, -1 at row 8" in complaint(tmp_path, "dev")
    save(tmp_path / "train.npz", label=pairs()["label"] + 1)
    save(tmp_path / "dev.npz")
    assert "has 3 labels outside 1..3: 0 at row 0, 0 at row 3, 0 at row 6" in complaint(tmp_path, "dev")


def test_classes_without_a_training_pair(tmp_path):
    (tmp_path / "names").write_text("ant\nbee\ncat\ndog\nelk\n")
    save(tmp_path / "train.npz", label=np.array([0, 1, 4] * 3))
    text = complaint(tmp_path, class_names="names")
    assert text.startswith("2 of 5 classes have no training pair: 2 (cat), 3 (dog)")
    assert complaint(tmp_path).startswith("2 of 5 classes have no training pair: 2 (class 2), 3 (class 3)")


def test_one_class_only(tmp_path):
    for number in (0, 1, 6):
        save(tmp_path / "train.npz", label=np.full(N, number))
        text = complaint(tmp_path)
        assert text.startswith("all 9 labels of 'label' of ")
        assert text.endswith("are of one class; expected at least two classes")


def test_a_base_that_cannot_be_told(tmp_path):
    save(tmp_path / "train.npz", label=np.array([2, 3, 4] * 3))
    assert "has labels 2..4, so it is unclear whether classes count from 0 or from 1" in complaint(tmp_path)
    # with four names, 1..3 may be the last three counted from 0 or the first three counted from 1
    (tmp_path / "names").write_text("a\nb\nc\nd\n")
    save(tmp_path / "train.npz", label=np.array([1, 2, 3] * 3))
    assert "has labels 1..3 for 4 classes, so it is unclear" in complaint(tmp_path, class_names="names")
    assert "have no training pair: 3 (d)" in complaint(tmp_path, class_names="names", label_base=1)
    save(tmp_path / "train.npz", label=np.array([1, 2, 5] * 3))
    assert "has labels 1..5 for 4 classes, so it is unclear" in complaint(tmp_path, class_names="names")
    save(tmp_path / "train.npz", label=np.array([1, 2, 4] * 3))
    assert "have no training pair: 2 (c)" in complaint(tmp_path, class_names="names")


def test_a_base_stated_wrongly(tmp_path):
    save(tmp_path / "train.npz")
    assert "has 3 labels outside 1..2: 0 at row 0" in complaint(tmp_path, label_base=1)
    save(tmp_path / "train.npz", label=pairs()["label"] + 1)
    assert "1 of 4 classes have no training pair: 0 (class 0)" in complaint(tmp_path, label_base=0)


def test_one_hot_here_and_numbers_there(tmp_path):
    save(tmp_path / "train.npz", label=np.eye(K)[pairs()["label"]])
    save(tmp_path / "dev.npz", label=pairs()["label"] + 1)
    assert complaint(tmp_path, "dev") == (
        "the train split has one-hot labels and the dev split plain numbers, so it is "
        "unclear whether these count from 0 or from 1; set it, such as --set data.label_base=1"
    )
    data = Labelled(Labelled.Config(root=tmp_path, label_base=1))
    assert data.split("dev").labels.tolist() == data.split("train").labels.tolist()


def test_one_hot_that_is_not(tmp_path):
    several = np.eye(K)[pairs()["label"]]
    several[4, 0] = several[4, 1] = 1
    save(tmp_path / "train.npz", label=several)
    assert "has shape (9, 3) but is not one-hot: row 4 has not a single 1 among zeros" in complaint(tmp_path)
    save(tmp_path / "train.npz", label=np.eye(N))
    assert "is one-hot by rows and by columns; say which are the pairs" in complaint(tmp_path)


def test_one_hot_with_other_classes_than_named(tmp_path):
    save(tmp_path / "train.npz", label=np.eye(4)[pairs()["label"]])
    (tmp_path / "names").write_text("a\nb\nc\n")
    assert "is one-hot with 4 columns; expected one for each of 3 classes" in complaint(
        tmp_path, class_names="names"
    )
    assert "one for each of 10 classes" in complaint(tmp_path, cls=Wikipedia)
    assert "1 of 4 classes have no training pair: 3 (class 3)" in complaint(tmp_path)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (np.array([0.5, 1, 2] * 3), "labels that are not whole numbers: 0.5 at row 0 and 2 more"),
        (np.array([0.0, 1, 2, 0, 1, np.nan, 0, 1, 2]), "labels that are not whole numbers: nan at row 5"),
        (np.zeros((0,)), "is empty, of shape (0,); expected one label a pair"),
        (np.zeros((N, 2, 2)), "has shape (9, 2, 2); expected one number a pair, or a one-hot matrix"),
    ],
)
def test_labels_that_are_none(tmp_path, label, text):
    save(tmp_path / "train.npz", label=label)
    assert text in complaint(tmp_path)


def test_label_lists(tmp_path):
    save(tmp_path / "train.npz")
    given = {"label_file": "list.txt"}
    assert f"there is no file {tmp_path / 'list.txt'}" in complaint(tmp_path, **given)
    (tmp_path / "list.txt").write_text("a\t1\nb\tart\n")
    text = complaint(tmp_path, **given)
    assert r"list.txt has no class in column -1 of line 2, 'b\tart'; expected a whole number" in text
    (tmp_path / "list.txt").write_text("1\n2\n")
    assert "in column 3 of line 1, '1'" in complaint(tmp_path, **given, label_column=3)
    assert "list.txt has 2 labels; expected one vector a label" in complaint(tmp_path, **given)
    (tmp_path / "list.txt").write_text("\n\n")
    assert "list.txt is empty; expected one entry a line" in complaint(tmp_path, **given)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00\n")
    assert "list.txt is not UTF-8 text, see line 1" in complaint(tmp_path, **given)


def test_class_name_lists(tmp_path):
    save(tmp_path / "train.npz")
    given = {"class_names": "names"}
    assert "there is no file" in complaint(tmp_path, **given)
    (tmp_path / "names").mkdir()
    assert "cannot read" in complaint(tmp_path, **given)
    (tmp_path / "names").rmdir()
    (tmp_path / "names").write_text("a\n\nb\n")
    assert "line 2 of" in complaint(tmp_path, **given)
    (tmp_path / "names").write_text("a\nb\na\n")
    assert "names the class 'a' twice" in complaint(tmp_path, **given)
    (tmp_path / "names").write_text("caf\u00e9\nb\ncafe\u0301\n", encoding="utf-8")
    assert "names the class 'caf\u00e9' twice" in complaint(tmp_path, **given)
    (tmp_path / "names").write_text("a\nb\n")
    assert "has 3 labels outside 0..1: 2 at row 2, 2 at row 5, 2 at row 8" in complaint(tmp_path, **given)


def test_too_few_rows_to_deal_out(tmp_path):
    root = save(tmp_path / "all.npz")
    assert "has 9 pairs, but split_sizes asks for 10; ask for fewer" in complaint(
        root, split_sizes={"train": 8, "dev": 2}
    )
    assert "split_sizes asks for 9 and some more" in complaint(root, split_sizes={"train": None, "dev": 9})


def test_split_files(tmp_path):
    root = save(tmp_path / "all.npz")

    def answer(content, split="train"):
        (tmp_path / "parts").write_bytes(content)
        return complaint(root, split, split_file="parts")

    def rows(**arrays):
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    assert "cannot read the split file" in complaint(root, split_file="none")
    assert "line 2 of" in answer(b"train\n\ndev\n")
    assert "puts no row into a split" in answer(b"-\n-\n")
    assert "has no train split, which defines the classes; it has dev, val" in answer(b"val\ndev\n")
    assert "gives the train split rows 0..9, but the data has 9 pairs, rows 0..8" in answer(b"train\n" * 10)
    assert "names row 3 twice" in answer(rows(train=np.arange(4), dev=np.array([3, 5])))
    assert "gives the train split rows -1..3" in answer(rows(train=np.arange(-1, 4)))
    assert "has 'train' of shape (2,) and type float64" in answer(rows(train=np.zeros(2)))
    assert "gives the train split no row" in answer(rows(train=np.zeros(0, dtype=int), dev=np.arange(3)))
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    assert "has no array; expected the rows of each split" in answer(empty.getvalue())


def test_kinds_of_files(tmp_path):
    assert kind_of(save(tmp_path / "a.npz")) == "npz"
    assert kind_of(save(tmp_path / "a.mat")) == "mat"
    assert kind_of(save(tmp_path / "a.h5")) == "hdf5"
    with h5py.File(tmp_path / "b.h5", "w", userblock_size=512) as file:
        file["x"] = np.arange(6).reshape(2, 3)
    assert kind_of(tmp_path / "b.h5") == "hdf5"  # somebody else's header
    np.testing.assert_array_equal(read_array(tmp_path / "b.h5", "x"), np.arange(6).reshape(2, 3))
    scipy.io.savemat(tmp_path / "v4.mat", {"x": np.arange(6.0).reshape(2, 3)}, format="4")
    assert kind_of(tmp_path / "v4.mat") == "mat"
    np.testing.assert_array_equal(read_array(tmp_path / "v4.mat", "x"), np.arange(6).reshape(2, 3))
    with pytest.raises(DataError, match="there is no file"):
        kind_of(tmp_path / "none.npz")
    with pytest.raises(DataError, match="cannot read"):
        kind_of(tmp_path)


def test_names_of_damaged_files(tmp_path):
    path = save(tmp_path / "all.npz")
    path.write_bytes(path.read_bytes()[:200])
    assert "all.npz is truncated or damaged" in complaint(path)
    assert array_names(save(tmp_path / "a.mat")) == {"image": "9x5", "text": "9x4", "label": "1x9"}


def test_many_arrays_are_cut_short(tmp_path):
    np.savez(tmp_path / "train.npz", **{f"a{i}": np.zeros(i) for i in range(25)})
    text = complaint(tmp_path)
    assert "a19 19 and 5 more" in text
    assert "a20" not in text


def test_names_of_arrays_reach_no_terminal_raw(tmp_path):
    np.savez(tmp_path / "train.npz", **{"\x1b[31m": np.zeros(2), "x" * 500: np.zeros(3)})
    text = complaint(tmp_path)
    assert r"'\x1b[31m' 2" in text
    assert "\x1b" not in text
    assert len(text) < 400
