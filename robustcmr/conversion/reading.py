"""Reading a file of ``torch.save`` without running anything in it."""

from __future__ import annotations

import argparse
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustcmr.errors import CheckpointError

_SCALAR = np.float64(0).__reduce__()[0]  # rebuilds a NumPy number; where it lives depends on NumPy's version
_ALLOWED: list[Any] = [
    argparse.Namespace,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (np.dtype, "numpy.dtype"),
    *(type(np.dtype(kind)) for kind in ("?", "i4", "i8", "f4", "f8")),
]
"""What released files hold beside tensors and plain values: options, and measures of a past evaluation."""

_REFUSED = re.compile(r"GLOBAL ([\w.]+)")


def read_checkpoint(path: Path) -> Any:
    """Read tensors, plain values, ``argparse.Namespace`` and NumPy numbers; nothing else is ever built.

    Both formats of ``torch.save`` are read, the zip archive and the older plain stream, whatever the file is
    called. Tensors come to the CPU.

    Args:
        path: the file, often called ``.pth.tar``.

    Raises:
        CheckpointError: there is no such file, it asks for anything else while being read (what is named), it
            is cut short, or it is no file of ``torch.save``.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {what}; give the file that torch.save wrote")
    try:
        if tarfile.is_tarfile(path):
            raise CheckpointError(
                f"{path} is a real tar archive, which torch.save has not written since 2017; unpack it and "
                "give the checkpoint inside, or load it with the code that wrote it and save it again"
            )
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        refused = _REFUSED.search(str(error))
        if refused is not None:
            raise CheckpointError(
                f"{path} asks for {refused.group(1)} while it is read, and what is neither a tensor nor a "
                "plain value may run code; where you trust the file, load it with the code that wrote it "
                "and save the state dicts alone"
            ) from error
        raise CheckpointError(
            f"{path} is cut short or was not written by torch.save; fetch it again, or give another file"
        ) from error
