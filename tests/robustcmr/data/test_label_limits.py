"""Labels that no memory can hold names for, and labels that would wrap around."""

import numpy as np
import pytest

from robustcmr.data.labelled import Labelled
from robustcmr.data.labelled_layout import read_split_file
from robustcmr.errors import DataError


def test_one_label_far_above_the_others_takes_no_memory(labelled_folder):
    path = labelled_folder / "train.npz"
    arrays = dict(np.load(path))
    arrays["label"] = arrays["label"].astype(np.int64)
    arrays["label"][3] = 2**40
    np.savez(path, **arrays)
    with pytest.raises(
        DataError, match=r"labels up to 1099511627776, 1099511627777 classes, for \d+ training pairs"
    ):
        Labelled(Labelled.Config(root=labelled_folder)).split("train")


@pytest.mark.parametrize(("value", "dtype"), [(2**63, np.uint64), (2**64 - 1, np.uint64)])
def test_a_label_beyond_64_bits_is_not_wrapped(labelled_folder, value, dtype):
    path = labelled_folder / "train.npz"
    arrays = dict(np.load(path))
    arrays["label"] = arrays["label"].astype(dtype)
    arrays["label"][3] = value
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=f"has a label {value}; expected classes such as 0, 1, 2"):
        Labelled(Labelled.Config(root=labelled_folder)).split("train")


def test_a_label_beyond_64_bits_in_a_text_file_is_named(tmp_path, labelled_folder):
    (labelled_folder / "labels.txt").write_text("1\n" * 5 + "9" * 30 + "\n")
    with pytest.raises(DataError, match="no class in column -1 of line 6"):
        Labelled(Labelled.Config(root=labelled_folder, label_file="labels.txt")).split("train")


def test_a_split_file_with_one_long_line_takes_no_more_memory_than_it_has(tmp_path):
    path = tmp_path / "split.txt"
    path.write_text("x" * 1_000_000 + "\n" + "train\n" * 200_000)  # as an array of text: 800 GB
    assert read_split_file(path)["train"].size == 200_000
