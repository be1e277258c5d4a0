"""Atomic writing: a reader sees the old file or the new one, whatever happens in between."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from robustcmr.errors import UserError
from robustcmr.files import atomic_file, write_json, write_text, write_with


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_and_json(tmp_path):
    write_text(tmp_path / "new" / "folder" / "a.txt", "grün\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == "grün\n".encode()
    write_json(tmp_path / "b.json", {"word": "grün", "n": [1, None]})
    assert (tmp_path / "b.json").read_text(encoding="utf-8").endswith("}\n")
    assert "grün" in (tmp_path / "b.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "b.json").read_bytes()) == {"word": "grün", "n": [1, None]}


def test_write_with(tmp_path):
    write_with(tmp_path / "a.bin", lambda file: file.write(b"\x00\x01"))
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\x01"
    assert names(tmp_path) == ["a.bin"]


def test_nothing_is_seen_before_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), UserError("y")])
def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_file(path) as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["fsync", "write", "replace"])
def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, where):
    path = tmp_path / "a.txt"
    path.write_text("old")
    if where == "fsync":
        monkeypatch.setattr(os, "fsync", full_disk)
    elif where == "replace":
        monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(UserError) as caught, atomic_file(path) as file:  # noqa: PT012
        file.write(b"new")
        if where == "write":
            full_disk()
    assert str(caught.value) == (
        f"cannot write {path}: No space left on device; free some space or choose another folder"
    )
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_real_full_device():
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left"), device.open("wb", buffering=0) as file:
        file.write(b"x")  # what the test above imitates


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/a\.txt: (File exists|Not a directory)"):
        write_text(tmp_path / "file" / "a.txt", "x")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("given", [".", "folder"])
def test_a_target_that_is_a_folder(tmp_path, monkeypatch, given):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="cannot write"):
        write_text(Path(given), "x")
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == []


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_respect_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "x")
        assert os.umask(mask) == mask  # and it is left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_what_is_no_json_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert names(tmp_path) == []
