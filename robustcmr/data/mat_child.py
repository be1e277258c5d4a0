"""Read an array of a MATLAB file in a process of its own; run by :mod:`robustcmr.data.mat_files`.

Arguments: the file, the name of the array or "", and the bytes of memory to take at most.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse

OTHERS = ("cell", "struct", "object", "function", "opaque", "char", "unknown")


def limit_memory(most: int) -> None:
    """Let the system refuse more memory than this, where it can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, ValueError, OSError):  # not on this system
        pass


def read(path: str, key: str) -> tuple[dict[str, Any], Any]:
    """Return shape and class of each array by name, and the array called ``key`` if it holds numbers."""
    listed = {name: [list(shape), kind] for name, shape, kind in scipy.io.whosmat(path)}
    if key not in listed or listed[key][1] in OTHERS:
        return listed, None
    value = scipy.io.loadmat(path, variable_names=[key])[key]
    if scipy.sparse.issparse(value):
        value.check_format(full_check=True)
        value = value.toarray()
    return listed, np.asarray(value)


def main() -> None:
    """Print a line of JSON, with the arrays by name or an error, and then the array."""
    path, key, most = sys.argv[1:]
    limit_memory(int(most))
    array = None
    try:
        listed, array = read(path, key)
        answer: dict[str, Any] = {"arrays": listed, "stored": None if array is None else array.dtype.kind}
    except MemoryError:
        answer = {"error": f"it needs more than {int(most):,} bytes of memory"}
    except Exception as error:  # SciPy raises nearly any exception for a damaged file
        answer = {"error": (str(error).splitlines() or [""])[0] or type(error).__name__}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    if array is not None and array.dtype.kind in "biuf":
        np.save(SimpleNamespace(write=sys.stdout.buffer.write), array)


if __name__ == "__main__":
    main()
