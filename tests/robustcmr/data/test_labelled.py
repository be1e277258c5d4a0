"""The reader of labelled features, on files of every layout written here, and on real ones where they are."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from pydantic import ValidationError

from robustcmr.config.resolve import resolve
from robustcmr.data import hdf5_arrays
from robustcmr.data.base import LabelledData
from robustcmr.data.labelled import InriaWebsearch, Labelled, NusWide, Wikipedia, XMediaNet
from robustcmr.errors import ConfigError, DataError

WIKIPEDIA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "wikipedia"
SIZES = {"train": 12, "dev": 7, "test": 6}
K, F, V = 3, 5, 4


def pairs_of(n, seed=0):
    """Image vectors (n, F), text vectors (n, V) and labels 0..K-1 (n,), every class at least once."""
    rng = np.random.default_rng([seed, n])
    labels = np.concatenate([np.arange(K), rng.integers(0, K, n - K)])
    return {"image": rng.normal(size=(n, F)), "text": rng.normal(size=(n, V)), "label": labels}


TRUTH = {name: pairs_of(n) for name, n in SIZES.items()}


def opened(root, **options):
    return Labelled(Labelled.Config(root=root, **{"standardise": "none", **options}))


def assert_is_truth(data, names=tuple(SIZES)):
    assert data.splits() == tuple(names)
    for name in names:
        split = data.split(name)
        assert split.name == name
        assert split.labels.dtype == np.int64
        assert split.labels.tolist() == TRUTH[name]["label"].tolist()
        n = len(split)
        for store, key in ((split.images, "image"), (split.texts, "text")):
            taken = store.take(np.arange(n))
            assert taken.dtype == np.float32
            np.testing.assert_array_equal(taken, TRUTH[name][key].astype(np.float32)[:, None, :])


def save_matlab73(path, arrays):
    """An HDF5 file as MATLAB 7.3 writes it: its header in front, every array turned."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=np.atleast_2d(array).T)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))


def save(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array


@pytest.fixture
def folder(tmp_path):
    """A file a split, as .npz."""
    for name, arrays in TRUTH.items():
        save(tmp_path / f"{name}.npz", arrays)
    return tmp_path


def change(folder, split, **arrays):
    save(folder / f"{split}.npz", {**TRUTH[split], **arrays})


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5", ".hdf5", ".h5py"])
def test_a_file_a_split(tmp_path, suffix):
    for name, arrays in TRUTH.items():
        save(tmp_path / f"{name}{suffix}", arrays)
    data = opened(tmp_path)
    assert isinstance(data, LabelledData)
    assert data.track == "labels"
    assert_is_truth(data)
    assert data.split("train").class_names == ("class 0", "class 1", "class 2")
    assert data.split("train") is data.split("train")


def test_splits_are_those_with_files(folder):
    (folder / "test.npz").unlink()
    save(folder / "notes.npz", {"x": np.zeros(3)})
    assert_is_truth(opened(folder), ("train", "dev"))


def test_matlab_73(tmp_path):
    for name, arrays in TRUTH.items():
        save_matlab73(tmp_path / f"{name}.mat", arrays)
    assert_is_truth(opened(tmp_path))


def test_matlab_73_is_loaded_however_large(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_arrays, "MAPPED_BYTES", 1)
    for name, arrays in TRUTH.items():
        save_matlab73(tmp_path / f"{name}.mat", arrays)
    data = opened(tmp_path, transposed=False)
    assert_is_truth(data)
    assert not data.split("train").images.mapped


def test_matlab_73_with_pairs_in_columns(tmp_path):
    for name, arrays in TRUTH.items():
        turned = {**arrays, "image": arrays["image"].T, "text": arrays["text"].T}
        save_matlab73(tmp_path / f"{name}.mat", turned)
    assert_is_truth(opened(tmp_path))
    assert_is_truth(opened(tmp_path, transposed=True))


def test_arrays_of_one_file(tmp_path):
    arrays = {f"{key}_{name}": array for name, split in TRUTH.items() for key, array in split.items()}
    save(tmp_path / "all.mat", arrays)
    splits = {
        "train": {"image": "image_train", "text": "text_train", "label": "label_train"},
        "dev": {"image": "image_dev", "text": "text_dev", "label": "label_dev"},
        "test": {"image": "image_test", "text": "text_test", "label": "label_test"},
    }
    assert_is_truth(opened(tmp_path / "all.mat", splits=splits))
    # the same, said once
    pattern = {"image": "image_{split}", "text": "text_{split}", "label": "label_{split}"}
    names = {"test": {}, "dev": {}, "train": {}}
    assert_is_truth(opened(tmp_path / "all.mat", splits=names, **pattern))


def test_groups_of_hdf5(tmp_path):
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for name, arrays in TRUTH.items():
            for key, array in arrays.items():
                file.create_dataset(f"{name}/{key}", data=array, compression="gzip")
    data = opened(
        tmp_path / "all.h5",
        image="{split}/image",
        text="{split}/text",
        label="{split}/label",
        splits={name: {} for name in SIZES},
    )
    assert_is_truth(data)


def test_a_file_an_array(tmp_path):
    for name, arrays in TRUTH.items():
        scipy.io.savemat(tmp_path / f"{name}_img.mat", {f"{name}_img": arrays["image"]})
        scipy.io.savemat(tmp_path / f"{name}_rest.mat", {"txt": arrays["text"], "lab": arrays["label"]})
    data = opened(
        tmp_path,
        image="{split}_img.mat:{split}_img",
        splits={name: {"file": "{split}_rest.mat", "text": "txt", "label": "lab"} for name in SIZES},
    )
    assert_is_truth(data)


def test_rows_of_a_shared_array(tmp_path):
    rest = {
        f"te_{key}": np.concatenate([TRUTH["dev"][key], TRUTH["test"][key]])
        for key in ("image", "text", "label")
    }
    save(tmp_path / "two.npz", {**TRUTH["train"], **rest})
    late = {"image": "te_image", "text": "te_text", "label": "te_label"}
    splits = {"train": {}, "dev": {**late, "rows": [0, 7]}, "test": {**late, "rows": [7, None]}}
    assert_is_truth(opened(tmp_path / "two.npz", splits=splits))
    splits["test"]["rows"] = [7, 14]
    with pytest.raises(DataError, match="the test split takes rows 7 to 14, but its arrays have 13 pairs"):
        opened(tmp_path / "two.npz", splits=splits).split("test")


EVERYTHING = {key: np.concatenate([TRUTH[name][key] for name in SIZES]) for key in ("image", "text", "label")}


@pytest.fixture
def one_file(tmp_path):
    """All 25 pairs, split by split, in one .npz."""
    save(tmp_path / "all.npz", EVERYTHING)
    return tmp_path / "all.npz"


def test_split_file_as_text(one_file):
    lines = [name for name, n in SIZES.items() for _ in range(n)]
    (one_file.parent / "parts.txt").write_text("\n".join(lines) + "\n")
    assert_is_truth(opened(one_file, split_file="parts.txt"))
    lines[-6:] = ["-"] * 6
    (one_file.parent / "parts.txt").write_text("\n".join(lines) + "\n")
    assert_is_truth(opened(one_file, split_file="parts.txt"), ("train", "dev"))


def test_split_file_as_rows(one_file):
    rows = {"dev": np.arange(12, 19), "train": np.arange(12), "test": np.arange(19, 25)}
    np.savez(one_file.parent / "rows.npz", **rows)
    assert_is_truth(opened(one_file, split_file="rows.npz"))


def test_seeded_splits(one_file):
    def rows_of(**options):
        data = opened(one_file, **options)
        found = []
        for name in data.splits():
            vectors = data.split(name).images.take(np.arange(len(data.split(name))))[:, 0]
            found.append([int(np.argmin(np.abs(EVERYTHING["image"] - v).sum(1))) for v in vectors])
            assert data.split(name).labels.tolist() == EVERYTHING["label"][found[-1]].tolist()
        return found

    first = rows_of(split_sizes={"dev": 5, "train": None, "test": 4})
    assert [len(part) for part in first] == [16, 5, 4]
    assert sorted(row for part in first for row in part) == list(range(25))
    assert first == rows_of(split_sizes={"train": None, "dev": 5, "test": 4})
    assert first != rows_of(split_sizes={"train": None, "dev": 5, "test": 4}, split_seed=1)
    assert first[0] != list(range(16))
    assert sum(len(part) for part in rows_of(split_sizes={"train": 15, "dev": 3})) == 18


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5"])
@pytest.mark.parametrize("turned", [False, True])
def test_one_hot(tmp_path, suffix, turned):
    for name, arrays in TRUTH.items():
        one_hot = np.eye(K)[arrays["label"]]
        save(tmp_path / f"{name}{suffix}", {**arrays, "label": one_hot.T if turned else one_hot})
    assert_is_truth(opened(tmp_path))
    assert_is_truth(opened(tmp_path, label_base=1))  # says nothing of columns


@pytest.mark.parametrize("base", ["auto", 1])
def test_counted_from_one(tmp_path, base):
    for name, arrays in TRUTH.items():
        save(tmp_path / f"{name}.npz", {**arrays, "label": (arrays["label"] + 1.0)[:, None]})
    data = opened(tmp_path, label_base=base)
    assert_is_truth(data)
    assert data.split("dev").class_names == ("class 1", "class 2", "class 3")


def test_the_base_is_that_of_the_training_labels(folder):
    """Dev has no pair of the first class: alone it would look counted from 1."""
    change(folder, "dev", label=np.array([1, 2, 1, 2, 1, 2, 1]))
    assert opened(folder).split("dev").labels.tolist() == [1, 2, 1, 2, 1, 2, 1]


def test_class_names(folder):
    (folder / "names.txt").write_text("cat\ndog\nhouse of cards\n")
    assert opened(folder, class_names="names.txt").split("dev").class_names == (
        "cat",
        "dog",
        "house of cards",
    )


def test_labels_in_a_text_file(folder):
    for name, arrays in TRUTH.items():
        lines = [f"t{i} a\ti{i}\t{label + 1}" for i, label in enumerate(arrays["label"])]
        (folder / f"{name}.list").write_text("\n".join(lines) + "\n")
        change(folder, name, label=np.zeros(2))
    assert_is_truth(opened(folder, label_file="{split}.list"))
    for name, arrays in TRUTH.items():
        lines = [f"{label} i{i}" for i, label in enumerate(arrays["label"])]
        (folder / f"{name}.txt").write_text("\n".join(lines))
    places = {name: {"label_file": f"{name}.txt", "file": f"{name}.npz"} for name in SIZES}
    assert_is_truth(opened(folder, splits=places, label_column=0))


def test_square_arrays(tmp_path):
    """Five pairs with five numbers: the texts tell which side is which, or nobody does."""
    rng = np.random.default_rng(0)
    image, text, label = rng.normal(size=(5, 5)), rng.normal(size=(5, 4)), np.array([0, 1, 0, 1, 0])
    for flip in (False, True):
        shown = (image.T, text.T) if flip else (image, text)
        save(tmp_path / "train.npz", {"image": shown[0], "text": shown[1], "label": label})
        taken = opened(tmp_path).split("train").images.take(np.arange(5))[:, 0]
        np.testing.assert_array_equal(taken, image.astype(np.float32))
    save(tmp_path / "train.npz", {"image": image, "text": image, "label": label})
    with pytest.raises(DataError, match="are both 5x5; say whether their pairs are columns with transposed"):
        opened(tmp_path).split("train")
    taken = opened(tmp_path, transposed=True).split("train").images.take(np.arange(5))[:, 0]
    np.testing.assert_array_equal(taken, image.T.astype(np.float32))


def test_standardise_by_the_training_pairs(folder):
    image = {name: arrays["image"].copy() for name, arrays in TRUTH.items()}
    for name in SIZES:
        image[name][:, 2] = 7.1  # never varies
        change(folder, name, image=image[name])
    data = opened(folder, standardise="train")
    dev = data.split("dev").images.take(np.arange(7))[:, 0]  # opened before train
    mean, deviation = image["train"].mean(0), image["train"].std(0)
    deviation[2] = 1
    np.testing.assert_allclose(dev, (image["dev"] - mean) / deviation, rtol=1e-5, atol=1e-5)
    train = data.split("train").texts.take(np.arange(12))[:, 0]
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-6)


def test_normalise(folder):
    image = TRUTH["dev"]["image"].copy()
    image[3] = 0
    change(folder, "dev", image=image)
    taken = opened(folder, normalise=True).split("dev").images.take(np.arange(7))[:, 0]
    np.testing.assert_allclose(np.linalg.norm(taken, axis=1), [1, 1, 1, 0, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(taken[0], image[0] / np.linalg.norm(image[0]), rtol=1e-6)


def test_whole_numbers_and_sparse_counts(tmp_path):
    counts = np.random.default_rng(0).integers(0, 3, (12, V))
    arrays = {**TRUTH["train"], "text": scipy.sparse.csc_matrix(counts.astype(float))}
    scipy.io.savemat(tmp_path / "train.mat", arrays)
    np.testing.assert_array_equal(opened(tmp_path).split("train").texts.take(np.arange(12))[:, 0], counts)
    save(tmp_path / "train.mat", {**TRUTH["train"], "text": counts.astype(np.uint8)})
    np.testing.assert_array_equal(opened(tmp_path).split("train").texts.take(np.arange(12))[:, 0], counts)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_large_hdf5_arrays_stay_on_disk(tmp_path, monkeypatch, caplog, compression):
    monkeypatch.setattr(hdf5_arrays, "MAPPED_BYTES", 1)
    for name, arrays in TRUTH.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array, compression=compression)
    caplog.set_level(logging.INFO)
    data = opened(tmp_path)
    assert_is_truth(data)
    store = data.split("train").images
    assert store.mapped == (compression is None)
    assert ("mapped image vectors" in caplog.text) == store.mapped
    again = pickle.loads(pickle.dumps(store))
    assert again.mapped == store.mapped
    np.testing.assert_array_equal(again.take(np.array([3, 1])), store.take(np.array([3, 1])))
    prepared = opened(tmp_path, normalise=True, standardise="train").split("train").images
    assert prepared.store.mapped == store.mapped
    loaded = data.fingerprint("train")
    monkeypatch.undo()
    assert not opened(tmp_path).split("train").images.mapped
    assert opened(tmp_path).fingerprint("train") == loaded


def test_trusted(folder):
    assert opened(folder).split("train").trusted
    data = opened(folder, trusted=False)
    assert not data.split("train").trusted
    assert data.split("dev").trusted


def test_every_vector_is_part_of_the_fingerprint(tmp_path):
    labels = np.arange(100) % 2
    arrays = {"image": np.eye(100)[:, :4], "text": np.eye(100)[:, :3], "label": labels}
    np.savez(tmp_path / "train.npz", **arrays)
    before = opened(tmp_path).known_fingerprints("train")
    arrays["text"][1, 2] += 1
    np.savez(tmp_path / "train.npz", **arrays)
    after = opened(tmp_path).known_fingerprints("train")
    assert (after[0] == before[0], after[1] == before[1]) == (False, True)


def test_fingerprint(folder, tmp_path_factory):
    marks = [opened(folder).fingerprint(name) for name in SIZES]
    assert len(set(marks)) == 3
    assert all(len(mark) == 16 for mark in marks)
    other = tmp_path_factory.mktemp("other")
    for name, arrays in TRUTH.items():  # another kind, another number type, another base
        arrays = {
            "image": arrays["image"].T.astype(np.float32),
            "text": arrays["text"],
            "label": arrays["label"] + 1,
        }
        save(other / f"{name}.h5", arrays)
    assert [opened(other).fingerprint(name) for name in SIZES] == marks
    assert opened(folder, normalise=True).fingerprint("train") != marks[0]
    assert opened(folder, standardise="train").fingerprint("train") != marks[0]
    for key, place in (("image", (0, 0)), ("text", (11, 3))):
        array = TRUTH["train"][key].copy()
        array[place] += 1
        change(folder, "train", **{key: array})
        assert opened(folder).fingerprint("train") != marks[0]
    label = TRUTH["train"]["label"].copy()
    label[5] = (label[5] + 1) % K
    change(folder, "train", label=label)
    assert opened(folder).fingerprint("train") != marks[0]


@pytest.mark.parametrize(
    ("cls", "sizes", "classes"),
    [
        (Wikipedia, (2173, 231, 462), 10),
        (NusWide, (42941, 5000, 23661), 10),
        (XMediaNet, (32000, 4000, 4000), 200),
        (InriaWebsearch, (9000, 1332, 4366), 100),
    ],
)
def test_published_sizes(tmp_path, caplog, cls, sizes, classes):
    for name, n in zip(SIZES, sizes, strict=True):
        n += name == "dev"
        label = np.arange(n) % classes
        save(tmp_path / f"{name}.npz", {"image": np.ones((n, 1)), "text": np.ones((n, 2)), "label": label})
    data = cls(cls.Config(root=tmp_path))
    warning = f"dev: {sizes[1] + 1} pairs; the published split has {sizes[1]}"
    assert data.unusual() == (warning,)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [warning]
    assert len(data.split("train").class_names) == classes
    label[0] = classes
    save(tmp_path / "test.npz", {"image": np.ones((n, 1)), "text": np.ones((n, 2)), "label": label})
    with pytest.raises(DataError, match=rf"has 1 labels outside 0\.\.{classes - 1}: {classes} at row 0"):
        cls(cls.Config(root=tmp_path)).split("test")


def test_other_data_has_no_published_size(folder):
    assert opened(folder).unusual() == ()


real = pytest.mark.skipif(not WIKIPEDIA.is_dir(), reason="the real files are not here")


@real
def test_real_wikipedia():
    data = Wikipedia(Wikipedia.Config(root=WIKIPEDIA))
    assert data.splits() == ("train", "dev")
    assert data.unusual() == ()
    train = data.split("train")
    assert train.images.shape == (2173, 1, 128)
    assert train.texts.shape == (2173, 1, 110)
    with np.load(WIKIPEDIA / "dev.npz") as truth:
        assert data.split("dev").labels.tolist() == truth["label"].tolist()
    names = (WIKIPEDIA / "categories.list").read_text().split()
    assert list(train.class_names) == names


@real
def test_real_raw_features():
    data = opened(
        WIKIPEDIA / "raw_features.mat",
        image="I_tr",
        text="T_tr",
        label_file="trainset_txt_img_cat.list",
        class_names="categories.list",
        split_sizes={"train": None, "dev": 231},
    )
    assert (len(data.split("train")), len(data.split("dev"))) == (1942, 231)
    assert data.split("train").images.shape == (1942, 1, 128)
    assert data.split("train").texts.shape == (1942, 1, 10)
    # the other release holds the same pairs in the same order
    whole = opened(
        WIKIPEDIA / "raw_features.mat",
        splits={"train": {"image": "I_tr", "text": "T_tr", "label_file": "trainset_txt_img_cat.list"}},
    )
    with np.load(WIKIPEDIA / "train.npz") as truth:
        assert whole.split("train").labels.tolist() == truth["label"].tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"splits": {"train": {}}, "split_sizes": {"train": 3}},
        {"split_file": "x.txt", "split_sizes": {"train": 3}},
        {"split_sizes": {"train": 0}},
        {"split_sizes": {"train": None, "dev": None}},
        {"label_base": 2},
        {"splits": 3},
    ],
)
def test_options_that_are_refused(tmp_path, options):
    with pytest.raises(ValidationError):
        Labelled.Config(root=tmp_path, **options)


@pytest.mark.parametrize(
    ("places", "where"),
    [({"imag": "x"}, "train.imag is 'x'"), (3, "train is 3"), ({"rows": [1]}, r"train.rows.1 is \[1\]")],
)
def test_places_that_are_refused(tmp_path, places, where):
    tree = {"data": {"name": "robustcmr.data.labelled:Labelled", "root": str(tmp_path)}}
    tree["data"]["splits"] = {"train": places}
    expected = where + "; expected for each split some of file, image, text, label, label_file, rows"
    with pytest.raises(ConfigError, match=rf"^data.*: {expected}"):
        resolve(tree)
