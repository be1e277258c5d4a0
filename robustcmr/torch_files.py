"""Files of ``torch.save``, read without executing anything in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from robustcmr.files import regular_file

_REFUSED = re.compile(r"GLOBAL ([\w.]+)")


class UnsafeError(ValueError):
    """A file asks for a function that may execute code; the message names it, to follow the file's name."""


def load_torch(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """Return the tensors and plain values of a file on the CPU; ``allowed`` names further types.

    Both formats of ``torch.save`` are read, the zip archive and the older plain stream.

    Raises:
        OSError: the file is missing, no regular file, or not readable.
        UnsafeError: it asks for anything else.
        ValueError: it is damaged, or no file of ``torch.save``.
    """
    with regular_file(path):
        pass
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file
        refused = _REFUSED.search(str(error))
        if refused is not None:
            raise UnsafeError(
                f"asks for {refused.group(1)} while it is read, which may execute code"
            ) from error
        raise ValueError("it is truncated, or was not written by torch.save") from error
