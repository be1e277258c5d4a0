"""Rows of arrays are read and written as NumPy itself reads and writes them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from robustcmr.errors import DataError
from robustcmr.sources.array_files import open_npy, open_npz, write_npz, write_rows


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("shape", [(7, 5), (7, 1, 5), (7, 2, 3), (7,), (0, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_kept_rows_of_a_file_are_numpys(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], order: str
) -> None:
    rng = np.random.default_rng(0)
    array = np.asarray(rng.standard_normal(shape).astype(dtype), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", array)
    keep = rng.random(shape[0]) < 0.5
    file = io.BytesIO()
    write_rows(open_npy(tmp_path / "a.npy"), keep, file)
    file.seek(0)
    found = np.load(file)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array[keep])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_kept_rows_of_an_archive_are_numpys(tmp_path: Path, save: object) -> None:
    rng = np.random.default_rng(1)
    arrays = {
        "l14_img": rng.standard_normal((9, 4)).astype(np.float16),
        "l14_txt": rng.standard_normal((9, 4)).astype(np.float32),
        "notes": np.arange(3),
    }
    save(tmp_path / "a.npz", **arrays)  # type: ignore[operator]
    keep = rng.random(9) < 0.5
    for name, part in open_npz(tmp_path / "a.npz").items():
        np.testing.assert_array_equal(part.load(), arrays[name])
        assert (part.offset is None) == (save is np.savez_compressed)
    with (tmp_path / "b.npz").open("wb") as file:
        write_npz(tmp_path / "a.npz", keep, file)
    found = np.load(tmp_path / "b.npz")
    assert found.files == list(arrays)
    np.testing.assert_array_equal(found["l14_img"], arrays["l14_img"][keep])
    np.testing.assert_array_equal(found["l14_txt"], arrays["l14_txt"][keep])
    np.testing.assert_array_equal(found["notes"], arrays["notes"])


def test_a_file_cut_off_holds_the_whole_rows_before_its_end(tmp_path: Path) -> None:
    array = np.arange(40, dtype=np.float32).reshape(10, 4)
    np.save(tmp_path / "a.npy", array)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-50])  # 3 rows and 2 bytes of the fourth
    part = open_npy(tmp_path / "a.npy")
    assert (part.shape, part.held) == ((10, 4), 6)
    np.testing.assert_array_equal(part.load(), array[:6])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no .npy file"),
        (b"PAR1 and more", "is no .npy file"),
        (b"\x93NUMPY\x01\x00\x05\x00{bad}", "is no .npy file"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        open_npy(tmp_path / "a.npy")
    assert "\n" not in str(caught.value)


def test_objects_are_refused_without_being_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="objects; expected rows of numbers"):
        open_npy(tmp_path / "a.npy")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((5, 2)))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[:-30])
    with pytest.raises(DataError, match=r"a\.npz is damaged"):
        open_npz(tmp_path / "a.npz")
