"""Folders of pictures are read with their captions, and what is kept is copied with its pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from robustcmr.errors import DataError
from robustcmr.sources import picture_folder
from robustcmr.sources.fingerprint import changed, fingerprint
from robustcmr.sources.guess import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Columns, Source

RNG = np.random.default_rng(0)


def picture(number: int) -> bytes:
    """A small picture file."""
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), number * 9 % 256, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_pictures(folder: Path, count: int = 6) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(picture(number))
    return folder


def table(source: Source, **more: bool) -> pa.Table:
    return pa.Table.from_batches([batch for shard in source.shards for batch in pairs(source, shard, **more)])


def csv_rows(count: int = 6, beside: str = "") -> list[str]:
    return [f'{beside}{number}.png,"caption {number}, with ""quotes"""\r\n' for number in range(count)]


TOKEN = [f"{number}.png#{part}\tcaption {number} {part}\n" for number in range(6) for part in range(5)]


@pytest.mark.parametrize(
    ("name", "pictures", "head", "rows"),
    [
        ("captions.csv", ".", "image,caption\r\n", csv_rows()),
        ("captions.csv", "images", "image,caption\r\n", csv_rows(beside="images/")),
        ("captions.csv", "images", "image,caption\r\n", csv_rows()),
        ("metadata.csv", ".", "file_name,text\r\n", csv_rows()),
        ("captions.tsv", ".", "image\tcaption\n", [f"{n}.png\tcaption {n}\n" for n in range(6)]),
        ("captions.txt", ".", "image,caption\n", csv_rows()),
        (
            "flickr.csv",
            "pictures",
            "image_name| comment_number| comment\n",
            [f"{n}.png| 0| a caption\n" for n in range(6)],
        ),
        ("results_20130124.token", "flickr30k-images", "", TOKEN),
        ("Flickr8k.token.txt", "Flicker8k_Dataset", "", TOKEN),
        (
            "metadata.jsonl",
            ".",
            "",
            [json.dumps({"file_name": f"{n}.png", "text": f"caption {n}"}) + "\n" for n in range(6)],
        ),
    ],
)
def test_a_table_and_its_pictures(
    tmp_path: Path, name: str, pictures: str, head: str, rows: list[str]
) -> None:
    write_pictures(tmp_path / "in" / pictures)
    (tmp_path / "in" / name).write_bytes((head + "".join(rows)).encode())
    (tmp_path / "in" / "README.txt").write_text("notes")
    source = open_source(tmp_path / "in")
    assert source.format == "picture-folder"
    found = table(source, need_pictures=True)
    assert len(found) == len(rows)
    assert found["problem"].null_count == len(rows)
    each = len(rows) // 6
    shown = list(source.pictures(source.shards[0], np.array([0, len(rows) - 1])))
    assert [one.data for one in shown] == [picture(0), picture(5)]
    assert len(set(found["image"].to_pylist())) == 6
    keep = np.zeros(len(rows), bool)
    keep[[0, 2 * each, 2 * each + each - 1]] = True
    written = source.write(source.shards[0], keep, tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == (head + "".join(np.array(rows)[keep])).encode()
    files = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in written[1:]}
    assert files == {Path(pictures) / f"{number}.png": picture(number) for number in (0, 2)}
    again = open_source(tmp_path / "out")
    assert table(again, need_pictures=True)["problem"].null_count == keep.sum()


def test_the_datasets_library_reads_what_is_written(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for split in ("train", "test"):
        folder = write_pictures(tmp_path / "in" / split)
        lines = [json.dumps({"file_name": f"{n}.png", "text": f"{split} {n}"}) + "\n" for n in range(6)]
        (folder / "metadata.jsonl").write_text("".join(lines))
    source = open_source(tmp_path / "in")
    assert [shard.path.parent.name for shard in source.shards] == ["test", "train"]
    keep = np.array([True, False, False, True, True, False])
    for shard in source.shards:
        source.write(shard, keep, tmp_path / "out")
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache")
    )
    for split in ("train", "test"):
        assert found[split]["text"] == [f"{split} {n}" for n in (0, 3, 4)]
        pixels = [np.asarray(image)[0, 0, 0] for image in found[split]["image"]]
        assert pixels == [n * 9 for n in (0, 3, 4)]


def test_captions_beside_each_picture(tmp_path: Path) -> None:
    for folder in ("in", "in/sub"):
        write_pictures(tmp_path / folder, 12)
        for number in range(12):
            (tmp_path / folder / f"{number}.txt").write_text(f"{folder} caption {number}\n")
    (tmp_path / "in/3.txt").unlink()
    (tmp_path / "in/4.png").unlink()
    (tmp_path / "in/5.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "in/6.txt").write_text("")
    source = open_source(tmp_path / "in")
    assert source.says[-1] == "The caption of each picture is the text of the .txt beside it."
    found = table(source)
    assert found["id"].to_pylist()[:5] == ["0.png", "1.png", "2.png", "3.png", "4.txt"]
    assert found["id"].to_pylist()[12:14] == ["sub/0.png", "sub/1.png"]
    assert found["caption"].to_pylist()[23] == "in/sub caption 11"
    problems = found["problem"].to_pylist()
    assert problems[3:7] == [
        "missing caption",
        "missing image",
        "unreadable row: its caption is not UTF-8 text",
        "empty caption",
    ]
    assert [row for row, problem in enumerate(problems) if problem is not None] == [3, 4, 5, 6]
    (batch,) = source.batches(source.shards[0], 10)
    assert batch.column("id").to_pylist() == ["10.png", "11.png"]
    keep = np.zeros(12, bool)
    keep[[1, 8]] = True
    for shard in source.shards:
        source.write(shard, keep, tmp_path / "out")
    names = {
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert names == {
        f"{folder}{n}.{suffix}" for folder in ("", "sub/") for n in (1, 8) for suffix in ("png", "txt")
    }
    assert (tmp_path / "out/sub/8.png").read_bytes() == picture(8)
    assert table(open_source(tmp_path / "out"))["caption"].to_pylist() == [
        f"{folder} caption {n}" for folder in ("in", "in/sub") for n in (1, 8)
    ]


def test_a_changed_file_of_the_folder_is_noticed(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"caption {number}")
    known = json.loads(json.dumps(fingerprint(open_source(tmp_path))))
    assert changed(open_source(tmp_path), known) is None
    (tmp_path / "3.txt").write_text("caption 8")
    assert "has changed since it was audited" in str(changed(open_source(tmp_path), known))


@pytest.mark.parametrize("name", ["../secret.png", "/{}/secret.png", "link.png", "sub/../../secret.png"])
def test_no_picture_outside_the_folder_is_read_or_copied(tmp_path: Path, name: str) -> None:
    write_pictures(tmp_path / "in")
    (tmp_path / "secret.png").write_bytes(picture(1))
    (tmp_path / "in/link.png").symlink_to(tmp_path / "secret.png")
    name = name.format(tmp_path)
    (tmp_path / "in/captions.csv").write_text(f"image,caption\n0.png,one\n{name},two\n")
    source = open_source(tmp_path / "in")
    shown = list(source.pictures(source.shards[0]))
    assert (shown[1].data, shown[1].problem) == (None, "its name leads outside the folder")
    with pytest.raises(DataError, match=r"of row 1 of .* lies outside .* and only those inside are copied"):
        source.write(source.shards[0], np.array([True, True]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    source.write(source.shards[0], np.array([True, False]), tmp_path / "out")


def test_missing_pictures_are_named_and_nothing_is_made_up(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    (tmp_path / "captions.csv").write_text(
        "image,caption\n0.png,one\n7.png,two\nhttp://x/1.png,three\n,four\n"
    )
    source = open_source(tmp_path)
    problems = [one.problem for one in source.pictures(source.shards[0])]
    assert problems == [None, "missing picture file", "only an address is known", "missing image"]
    written = source.write(source.shards[0], np.ones(4, bool), tmp_path / "out")
    assert [path.name for path in written] == ["captions.csv", "0.png"]


def test_folders_that_cannot_be_used_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for name in ("none", "bare", "two"):
        (tmp_path / name).mkdir()
    write_pictures(tmp_path / "bare")
    write_pictures(tmp_path / "two")
    for name in ("a.csv", "b.csv"):
        (tmp_path / "two" / name).write_text("image,caption\n0.png,one\n")
    cases = {
        "none": "is no folder with pictures; expected files such as 0001.jpg",
        "bare": "has pictures and no captions; expected a table such as captions.csv",
        "two": "has several tables: a.csv, b.csv; rename the one with the captions to captions.csv",
    }
    for name, says in cases.items():
        with pytest.raises(DataError) as caught:
            picture_folder.open([tmp_path / name], Columns())
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    write_pictures(tmp_path / "good", 2)
    (tmp_path / "good/captions.csv").write_text("image,caption\n0.png,one\n1.png,two\n")
    source = open_source(tmp_path / "good")
    with pytest.raises(DataError, match="is a file of the source itself"):
        source.write(source.shards[0], np.ones(2, bool), tmp_path / "good")
