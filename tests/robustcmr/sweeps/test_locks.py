"""A lock is held by one process, and by none once that is dead."""

import json
import os
import signal
import subprocess
import sys

import pytest

from robustcmr.errors import SweepError
from robustcmr.sweeps import locks

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom robustcmr.sweeps import locks\n"
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
        with pytest.raises(SweepError, match=who), locks.sole_user(path, "the folder"):
            raise AssertionError("both hold it")
        assert json.loads(path.read_text())["pid"] == other.pid
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    assert not locks.is_held(path)
    assert locks.read_owner(path)["pid"] == other.pid  # stale, and no obstacle
    with locks.sole_user(path, "the folder"):
        assert locks.read_owner(path)["pid"] == os.getpid()
    assert locks.read_owner(path) is None
    assert locks.describe_owner(path) == "another process"


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


def test_what_cannot_be_locked_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match="cannot lock"):
        locks.take(tmp_path / "file" / "lock")
    with pytest.raises(SweepError, match="cannot read the lock"):
        locks.is_held(tmp_path / "file" / "lock")

    def without_locks(descriptor, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", without_locks)
    with pytest.raises(SweepError, match="Operation not supported; choose a folder on another file system"):
        locks.take(tmp_path / "lock")


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 3}'])
def test_inscriptions_that_say_nothing(tmp_path, content):
    (tmp_path / "lock").write_text(content)
    assert locks.read_owner(tmp_path / "lock") is None
