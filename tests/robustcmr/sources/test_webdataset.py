"""Tars of samples are read as the webdataset library reads them, and copied byte for byte."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from PIL import Image

from robustcmr.errors import DataError
from robustcmr.sources import webdataset
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Columns, Source
from robustcmr.sources.vectors import open_vectors

RNG = np.random.default_rng(0)
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def picture(number: int) -> bytes:
    """A small picture file."""
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), number * 7 % 256, np.uint8)).save(file, "PNG")
    return file.getvalue()


def made(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Samples as img2dataset writes them."""
    samples = []
    for number in range(first, first + count):
        notes = {
            "uid": f"{number:032x}",
            "caption": f"in json {number}",
            "width": number,
            "score": number / 2,
        }
        samples.append(
            {
                "__key__": f"{number:09}",
                "jpg": picture(number),
                "txt": f"caption {number}",
                "json": json.dumps(notes),
            }
        )
    return samples


def write_tar(
    path: Path, samples: list[dict[str, Any]], kind: int = tarfile.USTAR_FORMAT, mode: str = "w"
) -> Path:
    """Write samples with tarfile itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=kind) as tar:  # type: ignore[call-overload]
        for sample in samples:
            for suffix, value in sample.items():
                if suffix != "__key__":
                    add(tar, f"{sample['__key__']}.{suffix}", value)
    return path


def add(tar: tarfile.TarFile, name: str, value: str | bytes, **more: Any) -> None:
    """Add a member."""
    data = value.encode() if isinstance(value, str) else value
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), 1_700_000_000
    for key, each in more.items():
        setattr(info, key, each)
    tar.addfile(info, io.BytesIO(data))


def opened(*paths: Path, **columns: str) -> Source:
    return webdataset.open(list(paths), Columns(**columns))


def table(source: Source) -> pa.Table:
    return pa.Table.from_batches([batch for shard in source.shards for batch in pairs(source, shard)])


def read_again(path: Path) -> list[dict[str, Any]]:
    """Read a tar with the webdataset library."""
    return [dict(sample) for sample in wds.WebDataset(str(path), shardshuffle=False, empty_check=False)]


def members(path: Path) -> dict[str, bytes]:
    """Each member's raw bytes, with all headers and padding, by name."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {}
        while (info := tar.next()) is not None:
            found[info.name] = data[info.offset : tar.offset]
    return found


def write_kept(source: Source, keep: npt.NDArray[np.bool_], to: Path) -> Path:
    return source.write(source.shards[0], keep, to)[0]


def test_samples_of_the_librarys_own_writer(tmp_path: Path) -> None:
    samples = made(30)
    for shard in range(3):
        with wds.TarWriter(str(tmp_path / f"{shard:05}.tar"), encoder=False) as writer:
            for sample in samples[shard * 10 : shard * 10 + 10]:
                writer.write(
                    {k: v.encode() if isinstance(v, str) and k != "__key__" else v for k, v in sample.items()}
                )
    assert webdataset.recognises([tmp_path])
    source = opened(tmp_path)
    assert source.columns == Columns("__image__", "txt", "uid")
    found = table(source)
    assert found["id"].to_pylist() == [f"{number:032x}" for number in range(30)]
    assert found["caption"].to_pylist() == [f"caption {number}" for number in range(30)]
    assert found["problem"].null_count == 30
    assert len(set(found["image"].to_pylist())) == 30
    assert source.schema().field("width").type == pa.int64()
    assert source.schema().field("score").type == pa.float64()
    where = [b for shard in source.shards for b in pairs(source, shard, where="width >= 25 and score < 14")]
    assert pa.Table.from_batches(where)["row"].to_pylist() == [5, 6, 7]
    (rest,) = source.batches(source.shards[1], 7)
    assert rest.column("width").to_pylist() == [17, 18, 19]
    shown = list(source.pictures(source.shards[1], np.array([2, 9])))
    assert [(each.row, each.data) for each in shown] == [(2, picture(12)), (9, picture(19))]
    assert [each.data for each in source.pictures(source.shards[2])] == [picture(n) for n in range(20, 30)]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_kept_members_are_copied_byte_for_byte(tmp_path: Path, kind: str, ending: str) -> None:
    samples = made(40)
    for sample in samples[::3]:  # names that need more than one header, except in ustar
        sample["__key__"] = "deep/" * (10 if kind == "ustar" else 60) + "é" * 20 + sample["__key__"]
        sample["jpg"] = RNG.bytes(512 * int(RNG.integers(0, 60)) + 1)
    for sample in samples[1::4]:
        sample["jpg"] = RNG.bytes(512 * int(RNG.integers(1, 60)))  # without padding
    path = write_tar(tmp_path / f"in/a{ending}", samples, FORMATS[kind], "w:gz" if ending != ".tar" else "w")
    source = opened(path)
    keep = RNG.random(40) < 0.4
    copy = write_kept(source, keep, tmp_path / "out")
    assert copy.name == path.name
    before, after = members(path), members(copy)
    names = [
        f"{s['__key__']}.{suffix}" for s, k in zip(samples, keep, strict=True) if k for suffix in list(s)[1:]
    ]
    assert list(after) == names
    assert all(after[name] == before[name] for name in names)
    again = read_again(copy)
    assert [each["__key__"] for each in again] == [
        s["__key__"] for s, k in zip(samples, keep, strict=True) if k
    ]
    assert [each["jpg"] for each in again] == [s["jpg"] for s, k in zip(samples, keep, strict=True) if k]
    assert table(opened(copy))["caption"].to_pylist() == [f"caption {row}" for row in np.flatnonzero(keep)]
    whole = write_kept(source, np.ones(40, bool), tmp_path / "whole")
    unpack = gzip.decompress if ending != ".tar" else bytes
    assert unpack(whole.read_bytes()) == unpack(path.read_bytes())
    none = write_kept(source, np.zeros(40, bool), tmp_path / "none")
    assert members(none) == {}
    assert len(unpack(none.read_bytes())) == 10_240


def test_what_belongs_to_no_sample_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "for all"}) as tar:
        add(tar, "folder", b"", type=tarfile.DIRTYPE)
        add(tar, "__meta__/a.json", "{}")
        for number in range(4):
            add(tar, f"folder/{number}.jpg", picture(number))
            if number in (2, 3):
                add(tar, f"README{number}", "hello")
            add(tar, f"folder/{number}.txt", f"caption {number}")
    source = opened(path)
    assert table(source)["caption"].to_pylist() == [f"caption {number}" for number in range(4)]
    copy = write_kept(source, np.array([True, False, False, True]), tmp_path / "out")
    kept = [f"folder/{number}.{suffix}" for number in (0, 3) for suffix in ("jpg", "txt")]
    assert list(members(copy)) == [
        "folder",
        "__meta__/a.json",
        *kept[:2],
        "README2",
        kept[2],
        "README3",
        kept[3],
    ]
    with tarfile.open(copy) as tar:
        assert tar.pax_headers == {"comment": "for all"}


def test_captions_in_json_and_lists_of_them(tmp_path: Path) -> None:
    samples = [
        {"__key__": f"{n}", "webp": picture(n), "json": json.dumps({"captions": [f"one {n}", f"two {n}"]})}
        for n in range(3)
    ]
    found = table(opened(write_tar(tmp_path / "a.tar", samples)))
    assert found["caption"].to_pylist() == [f"{word} {n}" for n in range(3) for word in ("one", "two")]
    assert found["id"].to_pylist() == [f"{n}#{part}" for n in range(3) for part in range(2)]
    named = opened(write_tar(tmp_path / "b.tar", made(2)), text="caption", id="__key__")
    assert table(named)["caption"].to_pylist() == ["in json 0", "in json 1"]
    assert table(named)["id"].to_pylist() == ["000000000", "000000001"]


def test_vectors_in_json(tmp_path: Path) -> None:
    truth = RNG.standard_normal((5, 3)).astype(np.float32)
    samples = [
        {"__key__": f"{n}", "jpg": picture(n), "txt": "a", "json": json.dumps({"emb": row.tolist()})}
        for n, row in enumerate(truth)
    ]
    samples[0]["json"] = '{"emb": [1, 2, 2.5]}'
    samples[4]["json"] = '{"emb": "none"}'
    truth[0], truth[4] = [1, 2, 2.5], np.nan
    source = opened(write_tar(tmp_path / "a.tar", samples[:4]), write_tar(tmp_path / "b.tar", samples[4:]))
    vectors = open_vectors("emb", "image", source)
    np.testing.assert_array_equal(vectors.take(np.array([4, 0, 1, 3])), truth[[4, 0, 1, 3]])


def test_equal_pictures_have_one_key(tmp_path: Path) -> None:
    samples = made(4)
    samples[3]["jpg"] = samples[1]["jpg"]
    images = table(opened(write_tar(tmp_path / "a.tar", samples)))["image"].to_pylist()
    assert images[1] == images[3]
    assert len(set(images)) == 3


def test_bad_samples_are_rows_with_a_problem(tmp_path: Path) -> None:
    samples = made(9)
    del samples[1]["txt"]
    del samples[2]["jpg"]
    samples[3]["json"] = "{half"
    samples[4]["txt"] = b"\xff\xfe\xff"
    samples[5]["txt"] = "  "
    samples[6]["__key__"] = "../../escape"
    samples[7]["__key__"] = "/etc/absolute"
    path = write_tar(tmp_path / "a.tar", samples)
    with tarfile.open(path, "a") as tar:
        add(tar, "link.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "link.txt", "a caption")
        add(tar, "twice.txt", "one")
        add(tar, "twice.txt", "two")
    problems = table(opened(path))["problem"].to_pylist()
    expected = [
        None,
        "missing caption",
        "missing image",
        "unreadable row: its .json cannot be read",
        "unreadable row: its caption is not UTF-8 text",
        "empty caption",
        "unreadable row: its name leads outside the folder of the tar",
        "unreadable row: its name leads outside the folder of the tar",
        None,
        "unreadable row: its .jpg is a link, which is not followed",
        "unreadable row: it has two members .txt",
    ]
    assert len(problems) == len(expected)
    for found, says in zip(problems, expected, strict=True):
        assert found == says or (says is not None and found.startswith(says))


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.501, 0.77])
def test_half_a_tar_keeps_the_whole_samples_before_the_damage(
    tmp_path: Path, ending: str, share: float
) -> None:
    samples = made(30)
    for sample in samples:
        sample["jpg"] = RNG.bytes(3000)
    path = write_tar(tmp_path / f"a{ending}", samples, mode="w:gz" if ending != ".tar" else "w")
    source = opened(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found = table(source)
    problems = found["problem"].to_pylist()
    whole = sum(problem is None for problem in problems)
    assert 30 * share - 4 < whole < 30 * share + 3
    assert found["caption"].to_pylist()[:whole] == [f"caption {row}" for row in range(whole)]
    assert problems[:whole] == [None] * whole
    assert problems[-1].startswith("unreadable row: the tar is damaged at byte ")
    assert len(problems) - whole in (1, 2)
    keep = np.zeros(len(problems), bool)
    keep[:whole:2] = True
    again = read_again(write_kept(source, keep, tmp_path / "out"))
    assert [each["jpg"] for each in again] == [sample["jpg"] for sample in samples[:whole:2]]
    keep[-1] = True
    with pytest.raises(DataError, match=r"cannot keep row \d+ of .*: the tar is damaged at byte"):
        write_kept(source, keep, tmp_path / "more")
    assert not list((tmp_path / "more").glob("*")) if (tmp_path / "more").exists() else True


def test_a_tar_cut_between_two_members_has_no_half_sample(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", made(8))
    with tarfile.open(path) as tar:
        within, between = (tar.getmember(f"00000000{name}").offset for name in ("5.json", "6.jpg"))
    content = path.read_bytes()
    path.write_bytes(content[:within])  # picture and caption are there, notes are not
    problems = table(opened(path, id="__key__"))["problem"].to_pylist()
    assert problems[:5] == [None] * 5
    assert problems[5] == "unreadable row: the tar is damaged within this sample"
    path.write_bytes(content[: between + 100])
    problems = table(opened(path))["problem"].to_pylist()
    assert problems[:6] == [None] * 6
    assert len(problems) == 7


def test_a_damaged_header_is_no_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", made(10))
    with tarfile.open(path) as tar:
        at = tar.getmember("000000006.jpg").offset
    content = bytearray(path.read_bytes())
    content[at : at + 20] = b"x" * 20
    path.write_bytes(content)
    problems = table(opened(path))["problem"].to_pylist()
    assert problems[:6] == [None] * 6
    damage = f"the tar is damaged at byte {at:,} (a header cannot be read); nothing after it is read"
    assert problems[6:] == [f"unreadable row: {damage}"]


def test_a_second_tar_behind_the_first_is_not_lost_in_silence(tmp_path: Path) -> None:
    first, second = (write_tar(tmp_path / f"{n}.tar", made(3, 3 * n)) for n in range(2))
    (tmp_path / "both.tar").write_bytes(first.read_bytes() + second.read_bytes())
    problems = table(opened(tmp_path / "both.tar"))["problem"].to_pylist()
    assert problems[:3] == [None] * 3
    assert "other bytes follow its end, as after joining two tars" in problems[3]


def test_tables_of_img2dataset_follow_their_tar(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "in/00000.tar", made(8))
    keys = [f"{number:09}" for number in range(10)]  # of which two failed to download
    rows = pa.table({"url": ["u"] * 10, "key": keys, "status": ["success"] * 8 + ["failed"] * 2})
    pq.write_table(rows, tmp_path / "in/00000.parquet")
    (tmp_path / "in/00000_stats.json").write_text("{}")
    source = opened(path.parent)
    assert "are written back with the rows of the keys kept" in source.says[-1]
    keep = np.arange(8) % 3 == 0
    written = source.write(source.shards[0], keep, tmp_path / "out")
    assert [file.name for file in written] == ["00000.tar", "00000.parquet"]
    assert pq.read_table(tmp_path / "out/00000.parquet")["key"].to_pylist() == [keys[n] for n in (0, 3, 6)]


def test_what_is_no_tar_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"PAR1" + bytes(2000))
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c.tar").write_bytes(b"short")
    (tmp_path / "d.tar.gz").write_bytes(gzip.compress(b"hello" * 400))
    (tmp_path / "e.tar.gz").write_bytes(gzip.compress(b"hello" * 400)[:9])
    (tmp_path / "none").mkdir()
    good = write_tar(tmp_path / "good.tar", made(2))
    cases = {
        "a.tar": "is no tar: it starts with b'PAR1",
        "b.tar": "is empty, expected a file with rows",
        "c.tar": "is no tar: it starts with b'short'",
        "d.tar.gz": "is no tar: it starts with b'hellohel'",
        "e.tar.gz": "cannot be unpacked",
        "none": "has no tars; expected names that end in .tar",
    }
    for name, says in cases.items():
        with pytest.raises(DataError) as caught:
            opened(tmp_path / name)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="has no column 'captoin'; did you mean 'caption'"):
        opened(good, text="captoin")
    with pytest.raises(DataError, match="is a file of the source itself"):
        write_kept(opened(good), np.ones(2, bool), tmp_path)
    with pytest.raises(DataError, match="has changed since it was audited"):
        write_kept(opened(good), np.ones(3, bool), tmp_path / "out")
