"""MATLAB 4 to 7 files, read by SciPy in a process of its own, as a damaged file may crash its reader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from noise_injection.reading import npy_header, parse_json

MEMORY, GROWTH = 2 * 2**30, 40
"""Bytes of memory that reading may take: so many, and so many times the size of the file."""

LONGEST_LISTING = 2**20
"""Bytes of the names and shapes of a file's arrays, at most."""

_CHILD = Path(__file__).with_name("mat_child.py")


@dataclass(frozen=True)
class MatFile:
    """What was read of a MATLAB file.

    Attributes:
        shapes: of each array, by name.
        kinds: MATLAB's class of each array, such as ``double`` or ``cell``.
        stored: NumPy's kind of the requested array; None if it is of a class that holds no numbers.
        array: the requested array, dense, if it holds plain numbers.
    """

    shapes: dict[str, tuple[int, ...]]
    kinds: dict[str, str]
    stored: str | None = None
    array: npt.NDArray[Any] | None = None


def read_mat(path: Path, key: str = "") -> MatFile:
    """List the arrays of a MATLAB file, and read one of them.

    Raises:
        OSError: the file or its reader cannot be opened.
        ValueError: the file is damaged, or needs too much memory.
    """
    most = MEMORY + GROWTH * path.stat().st_size
    with subprocess.Popen(
        [sys.executable, "-P", str(_CHILD), str(path), key, str(most)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # each takes address space
    ) as child:
        assert child.stdout is not None  # it is a pipe
        try:
            return _answer(child, child.stdout)
        finally:
            child.kill()


def _answer(child: subprocess.Popen[bytes], output: IO[bytes]) -> MatFile:
    line = output.readline(LONGEST_LISTING)
    if not line.endswith(b"\n"):
        if line:
            raise ValueError("it lists too many arrays")
        code = child.wait()
        why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ValueError(f"its reader crashed, {why}")
    answer = parse_json(line.decode())
    if "error" in answer:
        raise ValueError(answer["error"])
    shapes = {name: tuple(shape) for name, (shape, _) in answer["arrays"].items()}
    kinds = {name: kind for name, (_, kind) in answer["arrays"].items()}
    plain = answer["stored"] is not None and answer["stored"] in "biuf"
    return MatFile(shapes, kinds, answer["stored"], _read_array(output) if plain else None)


def _read_array(output: IO[bytes]) -> npt.NDArray[Any]:
    header = npy_header(output)  # type: ignore[arg-type]
    array = np.empty(header.shape, header.dtype, order="F" if header.fortran else "C")
    rest = memoryview(array.reshape(-1, order="A").view(np.uint8))  # type: ignore[arg-type]
    while rest:
        done = output.readinto(rest)  # type: ignore[attr-defined]
        if not done:
            raise ValueError("its reader crashed")
        rest = rest[done:]
    return array
