"""Every refusal of the operating system is answered with the advice that fits it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from noise_injection.atomic import atomic_file
from noise_injection.checks import NoiseError
from noise_injection.files import read_array
from noise_injection.reasons import reason

ADVICE = {
    errno.ENOENT: "check the path",
    errno.EACCES: "permissions",
    errno.EPERM: "permissions",
    errno.EROFS: "can be written",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "outside the quota",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file",
    errno.ELOOP: "in a circle",
    errno.EMFILE: "ulimit -n",
}


@pytest.mark.parametrize("code", ADVICE)
def test_advice_by_error(code: int) -> None:
    said = reason(OSError(code, os.strerror(code)))
    assert said.startswith(f"{os.strerror(code)}; ")
    others = {advice for other, advice in ADVICE.items() if advice != ADVICE[code]}
    assert ADVICE[code] in said
    assert not [advice for advice in others if advice in said]


def test_errors_without_number_or_words() -> None:
    assert reason(OSError("odd")) == "odd; check the path"
    assert reason(OSError()) == "OSError; check the path"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("folder", "name a file, not a folder"),
        ("file/x", "a part of the path is a file"),
        ("loop", "in a circle"),
        ("n" * 300, "choose a shorter name"),
    ],
)
def test_reading_and_writing_give_it(name: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / name
    with pytest.raises(NoiseError, match=advice) as failed:
        read_array(path, "label file")
    assert str(failed.value).startswith(f"cannot read {path}: ")
    if name == "loop":  # which writing replaces
        return
    with (
        pytest.raises(NoiseError, match="a file is in the way" if "/" in name else advice) as failed,
        atomic_file(path),
    ):
        pass
    assert str(failed.value).startswith(f"cannot write {path}: ")
