import json
import logging
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from robustcmr import locks
from robustcmr.data.cache import (
    MANIFEST,
    STALE_SECONDS,
    UNFINISHED,
    cache_root,
    cached_folder,
    is_whole,
)
from robustcmr.errors import UserError


class Builder:
    """Fills a folder and counts how often."""

    def __init__(self):
        self.runs = 0

    def __call__(self, folder):
        self.runs += 1
        (folder / "numbers.bin").write_bytes(bytes(range(200)))
        (folder / "words.txt").write_text("one two", encoding="utf-8")


def test_root_follows_the_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBUSTCMR_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("ROBUSTCMR_CACHE")
    name = "LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME"
    monkeypatch.setenv(name, str(tmp_path / "user"))
    assert cache_root() == tmp_path / "user" / "robustcmr"
    monkeypatch.setenv(name, "not/absolute")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_root().is_relative_to(tmp_path / "home")
    assert cache_root().name == "robustcmr"


def test_no_home_is_said_in_one_sentence(monkeypatch):
    def nowhere():
        raise RuntimeError("no home")

    monkeypatch.delenv("ROBUSTCMR_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(UserError, match="ROBUSTCMR_CACHE"):
        cache_root()


def test_built_once_then_found(tmp_path):
    build = Builder()
    folder = cached_folder(tmp_path / "deep" / "set", build)
    assert cached_folder(folder, build) == folder
    assert build.runs == 1
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "numbers.bin", "words.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


def damage_cut(folder):
    (folder / "numbers.bin").write_bytes(b"short")


def damage_flip(folder):
    content = bytearray((folder / "numbers.bin").read_bytes())
    content[7] ^= 1
    (folder / "numbers.bin").write_bytes(bytes(content))


def damage_missing(folder):
    (folder / "words.txt").unlink()


def damage_no_manifest(folder):
    (folder / MANIFEST).unlink()


def damage_manifest_text(folder):
    (folder / MANIFEST).write_text("{", encoding="utf-8")


def damage_manifest_form(folder):
    (folder / MANIFEST).write_text(json.dumps(["numbers.bin"]), encoding="utf-8")


def damage_empty_manifest(folder):
    (folder / MANIFEST).write_text("{}", encoding="utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        damage_cut,
        damage_flip,
        damage_missing,
        damage_no_manifest,
        damage_manifest_text,
        damage_manifest_form,
        damage_empty_manifest,
    ],
)
def test_damage_is_found_told_and_repaired(tmp_path, caplog, damage):
    build = Builder()
    folder = cached_folder(tmp_path / "set", build)
    damage(folder)
    assert not is_whole(folder)
    with caplog.at_level(logging.WARNING):
        cached_folder(folder, build)
    assert "damaged" in caplog.text
    assert str(folder) in caplog.text
    assert build.runs == 2
    assert is_whole(folder)
    assert (folder / "numbers.bin").read_bytes() == bytes(range(200))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("damaged", [False, True])
def test_several_at_once_all_succeed(tmp_path, damaged):
    folder = tmp_path / "set"
    if damaged:
        folder.mkdir()
        (folder / "numbers.bin").write_bytes(b"junk")
    together = Barrier(4)

    def build(target):
        (target / "numbers.bin").write_bytes(bytes(100))
        together.wait(timeout=20)  # all four build before any may finish

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(cached_folder, folder, build) for _ in range(4)]:
            assert done.result(timeout=30) == folder
    assert is_whole(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half.bin").write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cached_folder(tmp_path / "set", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_user_error(tmp_path):
    def full(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"No space left on device; .*ROBUSTCMR_CACHE"):
        cached_folder(tmp_path / "set", full)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="ROBUSTCMR_CACHE"):
        cached_folder(tmp_path / "file" / "set", Builder())


def test_a_rename_that_fails_is_a_user_error(tmp_path, monkeypatch):
    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match=r"Permission denied; .*ROBUSTCMR_CACHE"):
        cached_folder(tmp_path / "set", Builder())
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_folder_that_another_process_removes_first(tmp_path, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    rename, seen = Path.rename, []

    def race(self, target):
        if self == folder and not seen:
            seen.append(self)
            folder.rmdir()
            raise FileNotFoundError(2, "No such file or directory")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", race)
    cached_folder(folder, Builder())
    assert seen == [folder]
    assert is_whole(folder)


def test_old_leftovers_are_swept_and_young_ones_kept(tmp_path):
    old, young = tmp_path / f"{UNFINISHED}old", tmp_path / f"{UNFINISHED}young"
    for left in (old, young):
        left.mkdir()
        (left / "half.bin").write_bytes(b"half")
    then = time.time() - STALE_SECONDS - 60
    os.utime(old, (then, then))
    cached_folder(tmp_path / "set", Builder())
    assert not old.exists()
    assert young.exists()


def test_leftovers_of_killed_builds_are_swept_at_once_and_living_builds_kept(tmp_path):
    def die(folder):
        (folder / "half.bin").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        cached_folder(tmp_path / "set", die)
    os.waitpid(child, 0)
    assert [path.name.startswith(UNFINISHED) for path in tmp_path.iterdir()] == [True]

    def build(folder):
        cached_folder(tmp_path / "other", Builder())  # sweeps while this one is built
        Builder()(folder)

    cached_folder(tmp_path / "set", build)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "set"]


def test_without_locks_leftovers_stay_for_a_day(tmp_path, monkeypatch):
    def refuse(descriptor, blocking):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "lock_descriptor", refuse)
    left = tmp_path / f"{UNFINISHED}1"
    left.mkdir()
    (left / ".lock").write_text("")
    cached_folder(tmp_path / "set", Builder())
    assert is_whole(tmp_path / "set")
    assert left.exists()


def test_a_leftover_that_cannot_be_looked_at_is_passed_over(tmp_path):
    (tmp_path / f"{UNFINISHED}gone").symlink_to(tmp_path / "nowhere")
    cached_folder(tmp_path / "set", Builder())
    assert is_whole(tmp_path / "set")


def test_a_whole_cache_is_read_without_writing(tmp_path, monkeypatch):
    folder = cached_folder(tmp_path / "set", Builder())

    def refuse(*args, **kwargs):
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert cached_folder(folder, refuse) == folder
