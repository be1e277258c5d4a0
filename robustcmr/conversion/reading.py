"""Read a file of ``torch.save`` without executing anything in it."""

from __future__ import annotations

import argparse
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from robustcmr.errors import CheckpointError
from robustcmr.files import reason
from robustcmr.torch_files import UnsafeError, load_torch

_SCALAR = np.float64(0).__reduce__()[0]  # rebuilds a NumPy number; its module depends on NumPy's version
_ALLOWED: list[Any] = [
    argparse.Namespace,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (np.dtype, "numpy.dtype"),
    *(type(np.dtype(kind)) for kind in ("?", "i4", "i8", "f4", "f8")),
]
"""Contents of released files beside tensors and plain values: options, and metrics of a past evaluation."""


def read_checkpoint(path: Path) -> Any:
    """Read tensors, plain values, ``argparse.Namespace`` and NumPy numbers; nothing else is constructed.

    Both formats of ``torch.save`` are read, the zip archive and the older plain stream. Tensors are loaded
    to the CPU.

    Args:
        path: the file, often called ``.pth.tar``.

    Raises:
        CheckpointError: the file is missing, asks for anything else (which is named), is truncated, or was
            not written by ``torch.save``.
    """
    if not path.is_file():
        other = "is no regular file" if path.exists() else "does not exist"
        what = "is a folder" if path.is_dir() else other
        raise CheckpointError(f"{path} {what}; give the file that torch.save wrote")
    if _is_tar(path):
        raise CheckpointError(
            f"{path} is a real tar archive, which torch.save has not written since 2017; unpack it and give "
            "the checkpoint inside, or load it with the code that wrote it and save it again"
        )
    try:
        return load_torch(path, _ALLOWED)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {reason(error)}") from error
    except UnsafeError as error:
        raise CheckpointError(
            f"{path} {error}; if you trust the file, load it with the code that wrote it and save only the "
            "state dicts"
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} is truncated or was not written by torch.save; download it again, or give another file"
        ) from error


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {reason(error)}") from error
    except Exception:  # a damaged file can make its reader raise nearly anything
        return False
