"""Files of torch.save are read, and nothing in them is ever run."""

import argparse
import io
import os
import pathlib
import tarfile

import numpy as np
import pytest
import torch

from robustcmr.conversion.reading import read_checkpoint
from robustcmr.errors import CheckpointError

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, call, *arguments):
        self.made = (call, arguments)

    def __reduce__(self):
        return self.made


class Custom:
    def __init__(self):
        self.x = 1


@FORMATS
def test_what_released_files_hold(tmp_path, zipped):
    options = argparse.Namespace(data_name="f30k", margin=0.2, milestones=[1, 2], path=None)
    document = {
        "epoch": 3,
        "best_rsum": np.float64(490.5),
        "step": np.int64(7),
        "small": np.float32(0.5),
        "done": np.bool_(True),
        "opt": options,
        "model": [{"w": torch.arange(6.0).reshape(2, 3)}, {"v": torch.nn.Parameter(torch.ones(2))}],
    }
    path = tmp_path / "model_best.pth.tar"
    torch.save(document, path, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path)
    assert read["opt"] == options
    assert [read[key] for key in ("epoch", "best_rsum", "step", "small", "done")] == [3, 490.5, 7, 0.5, True]
    assert torch.equal(read["model"][0]["w"], document["model"][0]["w"])


@FORMATS
@pytest.mark.parametrize("place", ["opt", "model", "best_rsum", "root"])
def test_a_payload_is_never_run(tmp_path, zipped, place):
    marker = tmp_path / "ran"
    payload = Payload(os.system, f"echo > {marker}")
    document = {"model": [{"w": torch.ones(1)}], place: payload} if place != "root" else payload
    if place == "opt":
        document["opt"] = argparse.Namespace(hidden=payload)
    path = tmp_path / "model.pth.tar"
    torch.save(document, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert not marker.exists()
    assert str(caught.value).startswith(f"{path} asks for {os.system.__module__}.system while it is read")
    assert "\n" not in str(caught.value)
    torch.load(path, weights_only=False)  # it would have run
    assert marker.exists()


@FORMATS
@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Payload(eval, "1"), "eval"),
        (Payload(getattr, "x", "upper"), "getattr"),
        (Payload(pathlib.Path.touch, pathlib.PurePosixPath("x")), "getattr"),
        (pathlib.PurePosixPath("x"), "PurePosixPath"),
        (np.arange(3), "_reconstruct"),
    ],
    ids=["eval", "getattr", "method", "path", "array"],
)
def test_what_else_is_refused_by_name(tmp_path, zipped, thing, name):
    path = tmp_path / "model.pth"
    torch.save({"opt": thing}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"asks for [\w.]*{name} while it is read"):
        read_checkpoint(path)


@FORMATS
def test_classes_of_the_released_code_are_refused_by_name(tmp_path, zipped, monkeypatch):
    monkeypatch.setattr(Custom, "__module__", "__main__")
    monkeypatch.setattr("__main__.Custom", Custom, raising=False)
    path = tmp_path / "model.pth"
    torch.save({"model": Custom()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"asks for __main__\.Custom while"):
        read_checkpoint(path)


def test_nothing_stays_allowed(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"opt": argparse.Namespace(a=1)}, path)
    read_checkpoint(path)
    with pytest.raises(Exception, match="argparse"):
        torch.load(path, weights_only=True)


@FORMATS
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.99])
def test_a_file_cut_short(tmp_path, zipped, share):
    whole = io.BytesIO()
    torch.save({"model": [{"w": torch.ones(500)}]}, whole, _use_new_zipfile_serialization=zipped)
    path = tmp_path / "model.pth"
    path.write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
    with pytest.raises(CheckpointError, match="is truncated or was not written by") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"PK\x03\x04 no zip", bytes(range(256))])
def test_another_kind_of_file(tmp_path, content):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="was not written by"):
        read_checkpoint(path)


def test_a_real_tar(tmp_path):
    path = tmp_path / "model.pth.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(CheckpointError, match="is a real tar archive"):
        read_checkpoint(path)


def test_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(CheckpointError, match=r"pipe\.pth is no regular file; give"):
        read_checkpoint(tmp_path / "pipe.pth")
    with pytest.raises(CheckpointError, match=r"none\.pth does not exist; give"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    path.write_bytes(b"x")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tarfile, "is_tarfile", refuse)
    with pytest.raises(CheckpointError, match=r"cannot read .*: Permission denied"):
        read_checkpoint(path)
