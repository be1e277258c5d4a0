"""Vectors of pairs as rows of length 1, and which of them cannot be used."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from robustcmr.types import FloatArray, IntArray

BAD = ("", "no {} vector", "NaN or infinite numbers in the {} vector", "only zeros in the {} vector")
"""Problems of a vector by code, ``{}`` for its side; 0 is none."""

Take = Callable[[IntArray], FloatArray]


def unit_rows(vectors: FloatArray) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """Scale rows (n, D) to length 1, and return the code of each row's problem in :data:`BAD` (n,).

    Rows with a problem come as zeros.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        square = np.einsum("ij,ij->i", vectors, vectors)
    odd = np.flatnonzero(~np.isfinite(square) | (square < 1e-30))  # also finite rows whose squares are not
    code = np.zeros(len(vectors), np.uint8)
    length = np.sqrt(square)
    if len(odd):
        rows = vectors[odd].astype(np.float64)
        finite = np.isfinite(rows).all(1)
        rows[~finite] = 0
        peak = np.abs(rows).max(1, initial=0)
        scaled = rows / np.where(peak > 0, peak, 1)[:, None]
        norms = np.linalg.norm(scaled, axis=1)
        vectors = vectors.copy()
        vectors[odd] = scaled / np.where(norms > 0, norms, 1)[:, None]
        length[odd] = 1
        code[odd] = np.where(~finite, 2, np.where(peak > 0, 0, 3))
    return vectors / length[:, None], code


def gather(take: Take, at: IntArray) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """Read the vectors at (n,) as rows of length 1, with the code of each one's problem; -1 is none."""
    unit, code = unit_rows(take(at))
    code[at < 0] = 1
    return unit, code
