"""A lock is held by one process, and by none once that is dead."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from robustcmr import locks
from robustcmr.errors import InUseError, LockError

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom robustcmr import locks\n"
    "with locks.sole_user(Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def test_a_lock_is_taken_once(tmp_path):
    path = tmp_path / "deep" / "lock"
    assert not locks.is_held(path)
    descriptor = locks.take(path)
    assert locks.is_held(path)
    assert locks.take(path, patience=0.0) is None
    os.close(descriptor)
    assert not locks.is_held(path)
    os.close(locks.take(path))


def test_the_holder_is_named_and_a_killed_one_is_forgotten(tmp_path):
    path = tmp_path / "lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        who = f"the folder is in use by process {other.pid} on .* since 20"
        with pytest.raises(InUseError, match=who), locks.sole_user(path, "the folder"):
            raise AssertionError("both hold it")
        assert json.loads(path.read_text())["pid"] == other.pid
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    assert not locks.is_held(path)
    assert locks.read_owner(path)["pid"] == other.pid  # stale, and no obstacle
    with locks.sole_user(path, "the folder") as left:
        assert left
        assert locks.read_owner(path)["pid"] == os.getpid()
    assert not path.exists()
    assert locks.describe_owner(path) == "another process"
    with locks.sole_user(path, "the folder") as left:
        assert not left


def test_a_lock_whose_file_was_removed_before_it_was_taken_is_taken_anew(tmp_path, monkeypatch):
    """Else it would be one of a file that nobody sees, next to the holder of the new one."""
    path, opened, real = tmp_path / "lock", [], locks._open

    def late(path, deadline):
        opened.append(real(path, deadline))
        if len(opened) == 1:
            path.unlink()  # its last holder ends
        return opened[-1]

    monkeypatch.setattr(locks, "_open", late)
    descriptor = locks.take(path)
    assert len(opened) == 2
    assert locks.take(path, patience=0.0) is None
    os.close(descriptor)


def test_a_child_that_inherits_a_lock_holds_it(tmp_path):
    path = tmp_path / "lock"
    descriptor = locks.take(path)
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(descriptor,)
    )
    os.close(descriptor)
    assert locks.is_held(path)
    child.communicate()
    assert not locks.is_held(path)


def test_a_lock_is_not_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("x")
    for target in ("precious", "nowhere"):
        (tmp_path / "lock").unlink(missing_ok=True)
        (tmp_path / "lock").symlink_to(tmp_path / target)
        with pytest.raises(LockError, match="lock is a symbolic link, and what it leads to would be overwr"):
            locks.take(tmp_path / "lock")
    assert (tmp_path / "precious").read_text() == "x"
    assert not (tmp_path / "nowhere").exists()


def test_what_cannot_be_locked_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LockError, match=r"cannot write .*lock: .*(a file is in the way|a part of the path)"):
        locks.take(tmp_path / "file" / "lock")
    with pytest.raises(LockError, match="cannot read the lock"):
        locks.is_held(tmp_path / "file" / "lock")


@pytest.fixture
def without_locks(monkeypatch):
    """Some network file systems."""

    def refuse(descriptor, blocking):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(locks, "lock_descriptor", refuse)


def test_a_file_system_without_locks_is_refused_or_announced(tmp_path, without_locks, caplog):
    path = tmp_path / "lock"
    with pytest.raises(LockError, match="Operation not supported; choose a folder on another file system"):
        locks.take(path)
    with pytest.raises(LockError, match="not supported"), locks.sole_user(path, "the folder"):
        raise AssertionError
    assert caplog.messages == []
    with locks.sole_user(path, "the folder", required=False) as left:
        assert not left
    (said,) = caplog.messages
    assert said.startswith(f"cannot lock {path}: Operation not supported; ")
    assert said.endswith("here nothing keeps a second process out of the folder: start none")
    assert not path.exists()


def test_a_lock_left_on_another_machine_is_announced(tmp_path, caplog):
    """Some network file systems lock within one machine only, so its process may still live."""
    path = tmp_path / "lock"
    path.write_text("\n" + json.dumps({"pid": 5, "host": "elsewhere", "since": "2026-01-01"}))
    with locks.sole_user(path, "the folder") as left:
        assert left
    (said,) = caplog.messages
    assert said.startswith("the folder was left by process 5 on elsewhere since 2026-01-01; if that process")


@pytest.mark.parametrize("content", ["", "{", "[1]", '\n{"pid": 3}', "\n[[[", "\n\xff"])
def test_inscriptions_that_say_nothing(tmp_path, content):
    (tmp_path / "lock").write_text(content, encoding="latin-1")
    assert locks.read_owner(tmp_path / "lock") is None
