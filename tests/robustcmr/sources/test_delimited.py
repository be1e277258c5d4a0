"""CSV and TSV: read against the csv module and pandas, written back byte for byte."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from robustcmr.errors import DataError
from robustcmr.sources import open_source
from robustcmr.sources.dialects import Dialect, records
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source


def table(source: Source, start: int = 0) -> list[dict[str, str | None]]:
    return [row for batch in source.batches(source.shards[0], start) for row in batch.to_pylist()]


WORDS = [
    "a dog",
    'a "red" cat',
    "two,\nlines",
    "tab\there",
    "bar|bar",
    "semi;colon",
    "é ü 猫",
    "it's",
    "",
    " x ",
]


def made(rows: int = 500, seed: int = 0) -> list[list[str]]:
    rng = random.Random(seed)
    return [
        [f"img/{row}.jpg", " ".join(rng.choices(WORDS, k=2)), str(rng.randrange(900))] for row in range(rows)
    ]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_cells_are_those_that_the_csv_module_wrote(
    tmp_path: Path, delimiter: str, end: str, quoting: int
) -> None:
    rows = made()
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
        writer.writerows([["image_path", "caption", "width"], *rows])
    source = open_source(path)
    assert [list(row.values()) for row in table(source)] == rows
    assert (source.columns.image, source.columns.text) == ("image_path", "caption")
    lies = [said for said in source.says if "although its name ends in .csv" in said]
    assert len(lies) == (delimiter != ",")
    assert [list(row.values()) for row in table(source, 123)] == rows[123:]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_kept_records_are_written_byte_for_byte(tmp_path: Path, packed: bool, mark: bytes) -> None:
    texts = []
    for row in made(300):  # each record written in another way
        text = io.StringIO()
        kind = csv.QUOTE_ALL if len(texts) % 3 else csv.QUOTE_MINIMAL
        csv.writer(text, quoting=kind, lineterminator="\r\n" if len(texts) % 2 else "\n").writerow(row)
        texts.append(text.getvalue().encode())
    texts[-1] = texts[-1].rstrip()  # no line end after the last
    head = mark + b'image, "caption",width\n'
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(head + b"".join(texts)) if packed else head + b"".join(texts))
    source = open_source(path)
    keep = np.random.default_rng(0).random(300) < 0.5
    keep[-1] = True
    (out,) = source.write(source.shards[0], keep, tmp_path / "to")
    expected = head + b"".join(text for text, kept in zip(texts, keep, strict=True) if kept)
    found = out.read_bytes()
    assert (gzip.decompress(found) if packed else found) == expected
    assert out.name == path.name


def test_a_file_of_pandas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"url": ["u0", "u1", "u2"], "caption": ["a, b", None, 'say "x"'], "n": [1, 2, 3]})
    frame.to_csv(tmp_path / "a.csv")  # its index has no name
    source = open_source(tmp_path / "a.csv")
    assert source.schema().names == ["column1", "url", "caption", "n"]
    assert [row["caption"] for row in table(source)] == ["a, b", "", 'say "x"']


def test_a_tsv_whose_quotes_are_letters(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text(
        'a "small" dog\thttp://x/0\n"hello" he said\thttp://x/1\n12" pizza\thttp://x/2\n"\thttp://x/3\n'
    )
    source = open_source(path)
    assert [row["column1"] for row in table(source)] == ['a "small" dog', '"hello" he said', '12" pizza', '"']
    assert (source.columns.image, source.columns.text) == ("column2", "column1")
    assert any("no line with names of columns" in said for said in source.says)
    assert any("by their values: image = column2, text = column1" in said for said in source.says)
    assert any("Quotes in train.tsv are read as letters" in said for said in source.says)


def test_quotes_escaped_by_backslashes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('image,caption\n0.jpg,"a \\"red\\" dog, big"\n1.jpg,"plain, text"\n')
    source = open_source(path)
    assert [row["caption"] for row in table(source)] == ['a "red" dog, big', "plain, text"]


def test_captions_of_flickr_share_their_picture(tmp_path: Path) -> None:
    """The layouts of the Flickr30K and Flickr8K caption files."""
    path = tmp_path / "results.csv"
    path.write_text("image_name| comment_number| comment\n1.jpg| 0| A dog runs .\n1.jpg| 1| A cat, sat .\n")
    source = open_source(path)
    assert [row["comment"] for row in table(source)] == ["A dog runs .", "A cat, sat ."]
    path = tmp_path / "token.txt"
    path.write_text("1.jpg#0\tA dog runs .\n1.jpg#1\tA cat sat .\n2.jpg#0\tA bird .\n")
    source = open_source(path)
    found = [row for batch in pairs(source, source.shards[0]) for row in batch.to_pylist()]
    assert [row["image"] for row in found] == ["1.jpg", "1.jpg", "2.jpg"]
    assert [row["caption"] for row in found] == ["A dog runs .", "A cat sat .", "A bird ."]


def test_bad_rows_are_named_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = b"".join(b'%d.jpg,"caption %d, fine"\n' % (row, row) for row in range(50))
    bad = b'50.jpg,"never closed\n51.jpg,one,too many\n52.jpg\n53.jpg,caf\xe9\n54.jpg,"a" b\n\n'
    path.write_bytes(b"image,caption\n" + good + bad + b"55.jpg,last\n")
    source = open_source(path)
    (batch,) = pairs(source, source.shards[0])
    rows = batch.to_pylist()
    assert len(rows) == 56
    assert {row["row"]: row["problem"] for row in rows if row["problem"]} == {
        50: "unreadable row: a quote is not closed",
        51: "unreadable row: 3 cells, expected 2",
        52: "unreadable row: 1 cell, expected 2",
        53: "unreadable row: not UTF-8",
        54: "unreadable row: text follows a closing quote",
    }
    assert rows[55]["caption"] == "last"
    (out,) = source.write(source.shards[0], np.arange(56) != 50, tmp_path / "to")
    assert out.read_bytes() == path.read_bytes().replace(b'50.jpg,"never closed\n', b"").replace(
        b"\n\n", b"\n"
    )


def test_an_open_quote_costs_one_row_in_a_large_file(tmp_path: Path) -> None:
    lines = [f'{row}.jpg,"caption {row}"\n' for row in range(5000)]
    lines[2500] = '2500.jpg,"caption 2500\n'
    (tmp_path / "a.csv").write_text("image,caption\n" + "".join(lines))
    source = open_source(tmp_path / "a.csv")
    found = pa.Table.from_batches(pairs(source, source.shards[0]))
    assert found.num_rows == 5000
    assert found.column("problem").is_valid().to_pylist().count(True) == 1


def test_a_condition_sees_numbers_in_text(tmp_path: Path) -> None:
    rows = made()
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "caption", "width"], *rows])
    source = open_source(tmp_path / "a.csv")
    found = pa.Table.from_batches(
        pairs(source, source.shards[0], where="width >= 400 and image <> 'img/0.jpg'")
    )
    expected = [row[0] for row in rows if int(row[2]) >= 400 and row[0] != "img/0.jpg"]
    assert found.column("image").to_pylist() == expected


def test_files_in_another_order_of_columns_are_one_source(tmp_path: Path) -> None:
    (tmp_path / "a1.csv").write_text("image,caption\n1.jpg,one\n")
    (tmp_path / "a2.csv").write_text("caption\timage\ntwo\t2.jpg\n")
    source = open_source([tmp_path / "a1.csv", tmp_path / "a2.csv"])
    found = [row for shard in source.shards for batch in pairs(source, shard) for row in batch.to_pylist()]
    assert [(row["image"], row["caption"], row["shard"]) for row in found] == [
        ("1.jpg", "one", 0),
        ("2.jpg", "two", 1),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty, expected a file with rows"),
        (b"\n\n", "has no rows, expected lines of text"),
        ("image,caption\n1.jpg,é\n".encode("utf-16"), "is UTF-16, expected UTF-8"),
        ("image,caption\n1.jpg,é\n2.jpg,ü\n".encode("latin1"), "is not UTF-8 (line 2)"),
        (b"image,caption\n1.jpg,a\0b\n", "holds zero bytes"),
        (b"image,caption\r1.jpg,a\r2.jpg,b\r", "ends its lines with CR alone"),
        (b"image,caption,caption\n1.jpg,a,b\n", "has 2 columns named 'caption'"),
        (b"image,words\n1.jpg,a\n", "no column of"),
        (b'"image\n1.jpg\n', "a quote is not closed"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / "a.csv")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a1.csv").write_text("image,caption\n1.jpg,one\n")
    (tmp_path / "a2.csv").write_text("image,text\n1.jpg,one\n")
    with pytest.raises(DataError, match="it lacks caption and also has text"):
        open_source([tmp_path / "a1.csv", tmp_path / "a2.csv"])
    (tmp_path / "a2.csv").write_text("http://x/1.jpg,a dog runs\n")
    with pytest.raises(DataError, match=r"has a first line with names of columns and .* has none"):
        open_source([tmp_path / "a1.csv", tmp_path / "a2.csv"])


def test_a_damaged_gzip_says_so(tmp_path: Path) -> None:
    data = gzip.compress(b"image,caption\n" + b"".join(b"%d.jpg,caption\n" % row for row in range(9999)))
    (tmp_path / "a.csv.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot be read as gzip"):
        list(open_source(tmp_path / "a.csv.gz").batches(open_source(tmp_path / "a.csv.gz").shards[0]))


def test_rows_are_counted_without_any_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,caption\n1.jpg,one\n2.jpg\n3.jpg,three\n")
    source = open_source(tmp_path / "a.csv")
    assert [batch.num_rows for batch in source.narrow(source.shards[0], 0, ())] == [3]


def test_rows_that_cannot_be_read_pass_every_condition(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,caption,width\n1.jpg,one,5\n2.jpg,two\n3.jpg,three,500\n")
    source = open_source(tmp_path / "a.csv")
    found = pa.Table.from_batches(pairs(source, source.shards[0], where="width > 100")).to_pylist()
    assert [(row["row"], row["problem"]) for row in found] == [
        (1, "unreadable row: 2 cells, expected 3"),
        (2, None),
    ]


def test_an_open_quote_holds_few_lines() -> None:
    taken = 0

    def lines() -> Iterator[bytes]:
        nonlocal taken
        for row in range(100_000):
            taken += 1
            yield b'%d.jpg,"caption\n' % row if row == 3 else b"%d.jpg,caption\n" % row

    found = records(lines(), Dialect(), 2)
    problems = [next(found).problem for _ in range(5)]
    assert problems == [None, None, None, "a quote is not closed", None]
    assert taken < 1000


@given(
    st.lists(st.text('",;a \\\r\\té', max_size=12), max_size=30).map("\n".join),
    st.sampled_from(["doubled", "escaped", "none"]),
    st.sampled_from([None, 1, 2, 3]),
)
def test_no_byte_of_a_file_is_lost(text: str, quotes: str, cells: int | None) -> None:
    """Whatever the quotes, the records are the file, but for its empty lines."""
    lines = [part + b"\n" for part in text.encode().split(b"\n")]
    raw = b"".join(record.raw for record in records(iter(lines), Dialect(",", quotes), cells))

    def filled(data: bytes) -> list[bytes]:
        return [line for line in data.split(b"\n") if line.strip(b"\r")]

    assert filled(raw) == filled(b"".join(lines))


def test_a_single_column_may_hold_commas(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption\na dog\na cat, big\n")
    assert [row["caption"] for row in table(open_source(tmp_path / "a.csv"))] == ["a dog", "a cat, big"]


def test_numbers_as_names_of_columns(tmp_path: Path) -> None:
    pd.DataFrame([["a.jpg", "a dog"], ["b.jpg", "a cat"]]).to_csv(tmp_path / "a.csv", index=False)
    source = open_source(tmp_path / "a.csv", image="0", text="1")
    assert [row["1"] for row in table(source)] == ["a dog", "a cat"]
    with pytest.raises(DataError, match="it has the columns '0', '1'; name the one with captions"):
        open_source(tmp_path / "a.csv")
