from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustcmr.errors import DataError, UserError
from robustcmr.runs import table as run_table
from robustcmr.runs.pairs_table import PairsTable

CAPTIONS = [
    'he said "no", then left',
    "a\ttab and a, comma",
    "two\nlines",
    "an old\rline end, and\r\nanother",
    "日本語 café 🐱",
    "",
    '"',
    "  blanks around  ",
    "nul \x00 and \x1b[31mred",
    "=1+1",
]


def table(n: int = 10, **changed: Any) -> PairsTable:
    rng = np.random.default_rng(n)
    columns: dict[str, Any] = {
        "pair": np.arange(n) * 3,
        "caption": [CAPTIONS[i % len(CAPTIONS)] for i in range(n)],
        "image": rng.integers(0, 50, n),
        "image_name": [f"im, {i}.jpg" if i % 2 else "" for i in range(n)],
        "evidence": rng.normal(size=n) * 10.0 ** rng.integers(-9, 9, n),
        "clean_probability": rng.random(n) ** 9,
        "is_clean": rng.random(n) < 0.5,
        "rematch": rng.integers(0, 50, n),
        "rematch_name": [f"{i}.jpg" for i in range(n)],
        "score": rng.normal(size=n),
        "rematch_score": rng.normal(size=n).astype(np.float32),
    }
    return PairsTable(**{**columns, **changed})


def test_ids_of_the_data_are_kept(tmp_path: Path) -> None:
    given = table(3, id=["a7", "=b", "c,d"])
    given.write(tmp_path / "pairs.csv")
    found = PairsTable.read(tmp_path / "pairs.csv")
    assert found.id == ["a7", "=b", "c,d"]
    assert (tmp_path / "pairs.csv").read_text().startswith('"pair","id","caption"')
    assert list(found.to_columns())[:3] == ["pair", "id", "caption"]
    assert table(3).id is None


def test_a_table_is_shown_in_one_line() -> None:
    assert repr(table(1200)).startswith("<PairsTable of 1,200 pairs: pair, caption, image, ")


def check_equal(found: PairsTable, expected: PairsTable) -> None:
    for column in dataclasses.fields(PairsTable):
        before, after = getattr(expected, column.name), getattr(found, column.name)
        if before is None or isinstance(before, list):
            assert after == before
        elif before.dtype.kind == "f":
            np.testing.assert_allclose(after, before, rtol=5.1e-6)
        else:
            assert after.dtype == before.dtype
            np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("n", [0, 1, 10, 25])
def test_what_was_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(run_table, "_CHUNK", 10)
    given = table(n)
    given.write(tmp_path / "run" / "pairs.csv")
    found = PairsTable.read(tmp_path / "run" / "pairs.csv")
    assert len(found) == n
    check_equal(found, given)
    found.write(tmp_path / "again.csv")  # rounding once is rounding for good, but for the margin
    check_equal(PairsTable.read(tmp_path / "again.csv"), found)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["pairs.csv"]


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    given = table(
        4, score=np.array([0.1, 1 / 3, 1e-7, 123456789.0]), rematch_score=np.array([0.4, 0, 3e-7, 1.0])
    )
    given.write(tmp_path / "pairs.csv")
    with (tmp_path / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = (tmp_path / "pairs.csv").read_text(encoding="utf-8").splitlines()[1]
    assert first.startswith('0,"he said ""no"", then left",')
    assert f'"{"clean" if given.is_clean[0] else "suspect"}"' in first
    assert ",".join(rows[0]) == HEADER
    assert [row["caption"] for row in rows] == CAPTIONS[:4]
    assert [row["decision"] for row in rows] == ["clean" if clean else "suspect" for clean in given.is_clean]
    assert [row["score"] for row in rows] == ["0.1", "0.333333", "1e-07", "123457000.0"]
    assert [row["margin"] for row in rows] == ["0.3", "-0.333333", "2e-07", "-123457000.0"]
    assert [row["pair"] for row in rows] == ["0", "3", "6", "9"]


def test_the_margin_is_what_the_other_image_gains() -> None:
    given = table(2, score=np.array([0.2, 0.5]), rematch_score=np.array([0.7, 0.1]))
    np.testing.assert_allclose(given.margin, [0.5, -0.4])


def test_no_other_image_is_empty(tmp_path: Path) -> None:
    given = table(2, rematch=np.array([-1, 4]), rematch_score=np.array([np.nan, 0.5]), rematch_name=["", "x"])
    given.write(tmp_path / "pairs.csv")
    with (tmp_path / "pairs.csv").open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert [row[name] for name in ("rematch", "rematch_name", "rematch_score", "margin")] == [""] * 4
    found = PairsTable.read(tmp_path / "pairs.csv")
    check_equal(found, given)
    assert np.isnan(found.margin[0])


def test_captions_may_be_any_sequence(tmp_path: Path) -> None:
    class Numbered:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, i: int) -> str:
            return f"caption {i}"

    table(5, caption=Numbered()).write(tmp_path / "pairs.csv")
    assert PairsTable.read(tmp_path / "pairs.csv").caption == [f"caption {i}" for i in range(5)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"caption": ["a"]}, "caption has 1 entries for 3 pairs"),
        ({"evidence": np.array([0, np.nan, 0])}, "evidence holds NaN"),
        ({"score": np.array([0, np.inf, 0])}, "score holds NaN"),
        ({"rematch_score": np.array([0, np.nan, 0])}, "rematch_score must be finite"),
        ({"rematch": np.array([0, -1, 0])}, "NaN where it is -1"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(3, **changed)


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    table(3).write(path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        table(3, caption=["a", None, "b"]).write(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        table(3).write(tmp_path / "file" / "pairs.csv")
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "pairs.csv"]


ROW = '0,"a cat",1,"","0.5",0.25,"suspect",2,"",0.1,0.2,0.1'
HEADER = ",".join([column.name for column in PairsTable.columns if column.optional is None])


def test_a_table_from_elsewhere_is_read_too(tmp_path: Path) -> None:
    """With a byte-order mark, Windows line ends and no needless quotes."""
    plain = ROW.replace('"', "")
    (tmp_path / "pairs.csv").write_bytes(f"\ufeff{HEADER}\r\n{plain}\r\n".encode())
    found = PairsTable.read(tmp_path / "pairs.csv")
    assert (found.caption, found.evidence.tolist(), found.is_clean.tolist()) == (["a cat"], [0.5], [False])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no table of pairs: it starts with ''"),
        (
            b"a,b,c\n1,2,3\n",
            "is no table of pairs: it starts with 'a,b,c', expected the columns pair,caption",
        ),
        (f"{HEADER},more\n", "is no table of pairs"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (f"{HEADER}\n{ROW}\n{ROW[:20]}\n", "damaged"),
        (f"{HEADER}\n{ROW}\n0,b\n", "damaged at line 3: 2 columns, expected 12"),
        (f"{HEADER}\n{ROW}\n\n", "damaged at line 3: 0 columns"),
        (f"{HEADER}\n{ROW},1\n", "13 columns"),
        (f'{HEADER}\n0,"a', "damaged: unexpected end of data"),
        (f"{HEADER}\n-{ROW}\n", "pair is '-0', expected a whole number"),
        (f"{HEADER}\n{'9' * 30}{ROW}\n", "damaged at line 2"),
        (f"{HEADER}\n{ROW.replace(',1,', ',1.0,')}\n", "image is '1.0'"),
        (f"{HEADER}\n{ROW.replace(',2,', ',x,')}\n", "rematch is 'x'"),
        (f"{HEADER}\n{ROW.replace('0.5', 'nan')}\n", "evidence is 'nan', expected a finite number"),
        (f"{HEADER}\n{ROW.replace('0.5', '')}\n", "evidence is ''"),
        (f"{HEADER}\n{ROW.replace(',0.2,', ',,')}\n", "rematch_score is ''"),
        (f"{HEADER}\n{ROW.replace('0.25', '1.25')}\n", "clean_probability is 1.25, expected 0 to 1"),
        (f"{HEADER}\n{ROW.replace('suspect', 'maybe')}\n", "decision is 'maybe', expected clean or suspect"),
    ],
)
def test_damaged_and_foreign_files(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        PairsTable.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="cannot read"):
            PairsTable.read(path)
