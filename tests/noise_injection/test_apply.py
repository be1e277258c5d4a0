from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from noise_injection import NoiseError, given_pairs, read_captions, read_names, regular_truth, write_table

TRUTH = regular_truth(4, 2)
INDEX = np.array([0, 1, 0, 1])
CAPTIONS = ["a dog", 'a "cat", red', "tab\there", "über"]


def test_rows_without_and_with_names_and_truth() -> None:
    assert list(given_pairs(INDEX, TRUTH, 2, CAPTIONS)) == [
        ["caption_row", "image", "caption"],
        ["0", "0", "a dog"],
        ["1", "1", 'a "cat", red'],
        ["2", "0", "tab\there"],
        ["3", "1", "über"],
    ]
    rows = list(given_pairs(INDEX, TRUTH, 2, CAPTIONS, ["x.jpg", "y.jpg"], with_truth=True))
    assert rows[0] == ["caption_row", "image", "image_name", "written_for_image", "mismatched", "caption"]
    assert rows[1:3] == [
        ["0", "0", "x.jpg", "0", "0", "a dog"],
        ["1", "1", "y.jpg", "0", "1", 'a "cat", red'],
    ]


def test_permutation_is_applied_as_caption_rows() -> None:
    truth = regular_truth(6, 2)
    rows = list(given_pairs(np.array([2, 0, 1]), truth, 3, list("abcdef")))
    assert [row[1] for row in rows[1:]] == ["2", "2", "0", "0", "1", "1"]


def test_counts_that_do_not_fit() -> None:
    with pytest.raises(NoiseError, match="3 captions and the noise is for 4"):
        given_pairs(INDEX, TRUTH, 2, CAPTIONS[:3])
    with pytest.raises(NoiseError, match="1 image names and 2 images"):
        given_pairs(INDEX, TRUTH, 2, CAPTIONS, ["x"])


def test_csv_and_tsv(tmp_path: Path) -> None:
    rows = [["caption_row", "caption"], ["0", 'a "b", c'], ["1", "tab\there\r\nnew"]]
    write_table(tmp_path / "t.csv", iter(rows))
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == rows
    write_table(tmp_path / "t.tsv", iter(rows))
    text = (tmp_path / "t.tsv").read_bytes().decode()
    assert text == 'caption_row\tcaption\n0\ta "b", c\n1\ttab\\there\\r\\nnew\n'
    with pytest.raises(NoiseError, match=r"ends in \.txt"):
        write_table(tmp_path / "t.txt", iter(rows))


def test_captions_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "caps.txt"
    path.write_bytes("\ufeffa dog\r\n two\u2028cats \nlast".encode())
    assert read_captions(path) == ["a dog", "two\u2028cats", "last"]


def test_captions_after_identifiers(tmp_path: Path) -> None:
    path = tmp_path / "caps.tsv"
    path.write_text('17\ta "dog"\n18\tx\\ty\thttp://z\n', encoding="utf-8")
    assert read_captions(path) == ['a "dog"', "x\ty"]
    path.write_text("17\ta\n18\n", encoding="utf-8")
    with pytest.raises(NoiseError, match="line 2 has no caption"):
        read_captions(path)
    path.write_text("17\t \n", encoding="utf-8")
    with pytest.raises(NoiseError, match="line 1 has no caption"):
        read_captions(path)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"a\n\nb\n", "line 2 is empty"), (b"\xff\xfe", "not UTF-8")]
)
def test_bad_text_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "caps.txt").write_bytes(content)
    with pytest.raises(NoiseError, match=message):
        read_captions(tmp_path / "caps.txt")


def test_text_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoiseError, match="there is no file"):
        read_captions(tmp_path / "caps.txt")
    with pytest.raises(NoiseError, match="cannot read"):
        read_captions(tmp_path)


def test_names_once_an_image_or_once_a_caption(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("x.jpg\ny.jpg\n")
    assert read_names(path, TRUTH, 2) == ["x.jpg", "y.jpg"]
    path.write_text("x.jpg\nx.jpg\ny.jpg\ny.jpg\n")
    assert read_names(path, TRUTH, 2) == ["x.jpg", "y.jpg"]
    path.write_text("x.jpg\nz.jpg\ny.jpg\ny.jpg\n")
    with pytest.raises(NoiseError, match=r"line 2 names z\.jpg for an image named x\.jpg"):
        read_names(path, TRUTH, 2)
    path.write_text("x.jpg\nx.jpg\nx.jpg\nx.jpg\n")
    with pytest.raises(NoiseError, match=r"line 3 names x\.jpg for image 1, which is the name of image 0"):
        read_names(path, TRUTH, 2)
    path.write_text("caf\u00e9\ncafe\u0301\ny\ny\n", encoding="utf-8")
    assert read_names(path, TRUTH, 2) == ["caf\u00e9", "y"]
    path.write_text("x\ny\nz\n")
    with pytest.raises(NoiseError, match=r"3 names; expected 2 .* or 4"):
        read_names(path, TRUTH, 2)
    path.write_text("x\nx\ny\ny\n")  # once a caption cannot name an image without captions
    with pytest.raises(NoiseError, match=r"4 names; expected 3 \(one per image\)"):
        read_names(path, TRUTH, 3)
