from __future__ import annotations

import csv
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustcmr.errors import DataError, UserError
from robustcmr.runs import table as run_table
from robustcmr.runs.labels_table import LabelsTable

CAPTIONS = [
    'he said "no", then left',
    "two\nlines",
    "an old\rline end",
    "日本語 café 🐱",
    "",
    "nul \x00",
    "=1+1",
]
NAMES = ("art & more", 'a "quoted", name', "", "two\nlines", "last")


def table(n: int = 12, **changed: Any) -> LabelsTable:
    rng = np.random.default_rng(n)
    labels = rng.integers(0, 5, (n, 3))
    labels[::2] = labels[::2, :1]  # every other pair keeps its class
    columns: dict[str, Any] = {
        "pair": np.arange(n) * 3,
        "given": labels[:, 0],
        "corrected": labels[:, 1],
        "confidence": rng.random(n) ** 9,
        "class_names": NAMES,
        "given_text": labels[:, 2],
        "evidence": rng.normal(size=n) * 10.0 ** rng.integers(-9, 9, n),
        "caption": [CAPTIONS[i % len(CAPTIONS)] for i in range(n)],
    }
    return LabelsTable(**{**columns, **changed})


def check_equal(found: LabelsTable, expected: LabelsTable) -> None:
    for column in dataclasses.fields(LabelsTable):
        before, after = getattr(expected, column.name), getattr(found, column.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype
            np.testing.assert_allclose(after, before, rtol=5.1e-6 if before.dtype.kind == "f" else 0)
        elif column.name != "class_names":
            assert after == before
    for labels in (expected.given, expected.corrected, expected.given_text):
        for number in [] if labels is None else labels.tolist():
            assert found.class_names[number] == expected.class_names[number]


@pytest.mark.parametrize("n", [0, 1, 12, 25])
@pytest.mark.parametrize("unknown", list(itertools.product([False, True], repeat=3)))
def test_what_was_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, unknown: tuple[bool, ...]
) -> None:
    monkeypatch.setattr(run_table, "_CHUNK", 10)
    optional = ("given_text", "evidence", "caption")
    given = table(n, **{name: None for name, absent in zip(optional, unknown, strict=True) if absent})
    path = tmp_path / "run" / "labels.csv"
    given.write(path)
    found = LabelsTable.read(path)
    assert len(found) == n
    check_equal(found, given)
    found.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["labels.csv"]


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    given = LabelsTable(
        pair=np.array([0, 7]),
        given=np.array([1, 2]),
        corrected=np.array([1, 0]),
        confidence=np.array([1 / 3, 1.0]),
        class_names=("art", "bio, logy", "war"),
        given_text=np.array([1, 0]),
        evidence=np.array([1e-7, -123456789.0]),
        caption=['a "cat"', "two\nlines"],
    )
    given.write(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "pair": "0",
            "given": "1",
            "given_name": "bio, logy",
            "given_text": "1",
            "given_text_name": "bio, logy",
            "corrected": "1",
            "corrected_name": "bio, logy",
            "confidence": "0.333333",
            "decision": "kept",
            "evidence": "1e-07",
            "caption": 'a "cat"',
        },
        {
            "pair": "7",
            "given": "2",
            "given_name": "war",
            "given_text": "0",
            "given_text_name": "art",
            "corrected": "0",
            "corrected_name": "art",
            "confidence": "1.0",
            "decision": "changed",
            "evidence": "-123457000.0",
            "caption": "two\nlines",
        },
    ]
    assert tuple(rows[0]) == tuple(column.name for column in LabelsTable.columns)


def test_changed_means_any_given_label_differs() -> None:
    given, text, corrected = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([0, 0, 0, 0])
    both = table(4, given=given, given_text=text, corrected=corrected, caption=None)
    assert both.changed.tolist() == [False, True, True, True]
    one = table(4, given=given, given_text=None, corrected=corrected)
    assert one.changed.tolist() == [False, False, True, True]


def test_classes_that_do_not_occur_have_no_name(tmp_path: Path) -> None:
    labels = np.array([3, 1])
    LabelsTable(labels, labels, labels, np.ones(2), ("a", "b", "c", "d", "e")).write(tmp_path / "labels.csv")
    assert LabelsTable.read(tmp_path / "labels.csv").class_names == ("", "b", "", "d")


def test_captions_may_be_any_sequence(tmp_path: Path) -> None:
    class Numbered:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, i: int) -> str:
            return f"caption {i}"

    table(5, caption=Numbered()).write(tmp_path / "labels.csv")
    assert LabelsTable.read(tmp_path / "labels.csv").caption == [f"caption {i}" for i in range(5)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"caption": ["a"]}, "caption has 1 entries for 3 pairs"),
        ({"given_text": np.zeros(4, np.int64)}, "given_text has 4 entries for 3 pairs"),
        ({"given": np.array([0, 5, 0])}, r"given must lie in 0..4 for 5 class names, got 0..5"),
        ({"corrected": np.array([0, -1, 0])}, r"corrected must lie in 0..4"),
        ({"confidence": np.array([0, 1.1, 0])}, "confidence must lie in"),
        ({"confidence": np.array([0, np.nan, 0])}, "confidence must lie in"),
        ({"evidence": np.array([0, np.inf, 0])}, "evidence holds NaN"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(3, **changed)


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    table(3).write(path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        table(3, caption=["a", None, "b"]).write(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        table(3).write(tmp_path / "file" / "labels.csv")
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "labels.csv"]


def test_names_that_a_spreadsheet_would_run_are_quoted_and_read_back(tmp_path: Path) -> None:
    names = ("=1+1", "@a", "-b", "'=c", "-7", "tab")
    labels = np.arange(6)
    written = LabelsTable(labels, labels, labels[::-1].copy(), np.ones(6), names)
    written.write(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["given_name"] for row in rows] == ["'=1+1", "'@a", "'-b", "''=c", "-7", "tab"]
    assert LabelsTable.read(tmp_path / "labels.csv").class_names == names


def test_letters_that_are_no_unicode_are_written_as_escapes(tmp_path: Path) -> None:
    table(3, caption=["a", "\ud800", "b"]).write(tmp_path / "labels.csv")
    assert LabelsTable.read(tmp_path / "labels.csv").caption == ["a", "\\ud800", "b"]


HEADER = ",".join(column.name for column in LabelsTable.columns if column.optional != "given_text")
ROW = '0,1,"bio",2,"war",0.25,"changed",0.5,"a cat"'


def test_a_table_from_elsewhere_is_read_too(tmp_path: Path) -> None:
    """With a byte-order mark, Windows line ends and no needless quotes."""
    plain = ROW.replace('"', "")
    (tmp_path / "labels.csv").write_bytes(f"\ufeff{HEADER}\r\n{plain}\r\n".encode())
    found = LabelsTable.read(tmp_path / "labels.csv")
    assert (found.caption, found.class_names) == (["a cat"], ("", "bio", "war"))
    assert (found.given.tolist(), found.corrected.tolist(), found.changed.tolist()) == ([1], [2], [True])
    assert found.given_text is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no table of labels: it starts with ''"),
        (b"a,b\n1,2\n", "is no table of labels: it starts with 'a,b', expected the columns pair,given"),
        (f"{HEADER},more\n", "is no table of labels"),
        (HEADER.replace("given,given_name", "given_name,given"), "is no table of labels"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (f"{HEADER}\n{ROW}\n{ROW[:18]}\n", "damaged"),
        (f"{HEADER}\n{ROW}\n0,b\n", "damaged at line 3: 2 columns, expected 9"),
        (f"{HEADER}\n{ROW}\n\n", "damaged at line 3: 0 columns"),
        (f'{HEADER}\n0,"a', "damaged: unexpected end of data"),
        (f"{HEADER}\n-{ROW}\n", "pair is '-0', expected a whole number"),
        (f"{HEADER}\n{'9' * 30}{ROW}\n", "damaged at line 2"),
        (f"{HEADER}\n{ROW.replace(',1,', ',1.0,')}\n", "given is '1.0'"),
        (f"{HEADER}\n{ROW.replace(',2,', ',,')}\n", "corrected is ''"),
        (f"{HEADER}\n{ROW.replace(',2,', ',1000000,')}\n", "expected a class number below 1000000"),
        (f"{HEADER}\n{ROW.replace('0.5', 'nan')}\n", "evidence is 'nan', expected a finite number"),
        (f"{HEADER}\n{ROW.replace('0.5', 'x')}\n", "evidence is 'x'"),
        (f"{HEADER}\n{ROW.replace('0.25', '1.25')}\n", "confidence is 1.25, expected 0 to 1"),
        (f"{HEADER}\n{ROW.replace('changed', 'kept')}\n", "decision is 'kept', expected 'changed'"),
        (f"{HEADER}\n{ROW.replace('changed', '')}\n", "decision is '', expected 'changed'"),
        (f"{HEADER}\n{ROW.replace(',2,', ',1,')}\n", "class 1 is named 'war' here and 'bio' before"),
        (
            f"{HEADER}\n{ROW}\n{ROW.replace('bio', 'art')}\n",
            "line 3: class 1 is named 'art' here and 'bio' before",
        ),
    ],
)
def test_damaged_and_foreign_files(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        LabelsTable.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="cannot read"):
            LabelsTable.read(path)
