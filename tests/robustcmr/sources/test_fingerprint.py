"""Fingerprints: every change of a file is named."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from robustcmr.errors import DataError
from robustcmr.sources import fingerprint as fingerprints, open_source
from robustcmr.sources.fingerprint import changed, file_fingerprint, fingerprint
from robustcmr.sources.records import Source


def written(folder: Path, names: tuple[str, ...] = ("a", "b")) -> Source:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.csv").write_text(f"image,caption\n{name}.jpg,a caption\n")
    return open_source(folder)


def test_an_unchanged_source_has_not_changed(tmp_path: Path) -> None:
    source = written(tmp_path / "in")
    known = json.loads(json.dumps(fingerprint(source)))
    assert changed(source, known) is None
    (tmp_path / "in").rename(tmp_path / "moved")  # wherever it is
    assert changed(open_source(tmp_path / "moved"), known) is None
    data = (tmp_path / "moved" / "a.csv").read_bytes()
    assert known["files"]["a.csv"] == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_each_change_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    known = fingerprint(written(folder))
    (folder / "a.csv").write_text("image,caption\nb.jpg,a caption\n")
    assert changed(open_source(folder), known) == f"{folder / 'a.csv'} has changed since it was audited"
    (folder / "a.csv").write_text("image,caption\nb.jpg,longer caption\n")
    assert changed(open_source(folder), known) == (
        f"{folder / 'a.csv'} has 35 bytes, and had 30 when it was audited"
    )
    assert changed(written(folder, ("a", "b", "c")), known) == f"c.csv is new in {folder}"
    (folder / "a.csv").unlink()
    assert changed(open_source(folder), known) == f"a.csv is no longer part of {folder}"
    source = written(tmp_path / "other")
    known = fingerprint(source)
    again = open_source([tmp_path / "other" / "b.csv", tmp_path / "other" / "a.csv"])
    assert "come in another order" in str(changed(again, known))
    assert "is read as csv, and was audited as parquet" in str(
        changed(source, {**known, "format": "parquet"})
    )


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    source = written(tmp_path / "in")
    known = fingerprint(source)
    (tmp_path / "in" / "b.csv").unlink()
    with pytest.raises(DataError, match=r"cannot read .*b\.csv: No such file"):
        changed(source, known)


def test_large_files_are_known_by_blocks_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "WHOLE", 1000)
    monkeypatch.setattr(fingerprints, "BLOCK", 16)
    path = tmp_path / "a.bin"
    data = bytes(range(256)) * 8
    path.write_bytes(data)
    os.utime(path, ns=(5, 7))
    known = file_fingerprint(path)
    starts = [(2048 - 16) * number // 15 for number in range(16)]
    digest = hashlib.sha256(b"".join(data[start : start + 16] for start in starts)).hexdigest()
    assert known == {"size": 2048, "mtime_ns": 7, "blocks_sha256": digest}
    for at in (0, 2047):
        path.write_bytes(data[:at] + b"!" + data[at + 1 :])
        os.utime(path, ns=(5, 7))
        assert file_fingerprint(path) != known
    path.write_bytes(data)
    os.utime(path, ns=(5, 8))
    assert file_fingerprint(path) != known
    assert file_fingerprint(path, times=False) == {"size": 2048, "blocks_sha256": digest}


def test_of_many_files_only_the_first_are_hashed_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "WHOLE_TOGETHER", 100)
    monkeypatch.setattr(fingerprints, "BLOCK", 1)
    source = written(tmp_path / "in", tuple("abcdefg"))  # of 30 bytes each
    known = fingerprint(source)
    assert ["sha256" in known["files"][f"{name}.csv"] for name in "abcdefg"] == [True] * 4 + [False] * 3
    assert changed(source, known) is None
    os.utime(tmp_path / "in" / "g.csv", ns=(5, 8))
    assert changed(source, known) == f"{tmp_path / 'in' / 'g.csv'} has changed since it was audited"
