"""Count the cells of every row and column that reach a threshold, in one pass compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

_ROWS_PER_THREAD = 64  # fewer are not worth a thread


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use and cache on disk, if a folder can be written to."""
    try:
        compiled: Callable[..., Any] = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no writable cache folder
        compiled = njit(nogil=True)(function)
    return compiled


def counts(scores: Tensor, best: Tensor, own: Tensor) -> tuple[Tensor, Tensor] | None:
    """Count the cells of every row and of every column that reach a threshold.

    Args:
        scores: (N, M) float32 or float64, contiguous on the CPU.
        best: (N,) of the same type, threshold of each row.
        own: (M,) of the same type, threshold of each column.

    Returns:
        (N,) int64 by row and (M,) int64 by column; None if a score is NaN.
    """
    cells, by_row, by_column = (values.detach().numpy() for values in (scores, best, own))
    n, m = cells.shape
    threads = max(1, min(torch.get_num_threads(), n // _ROWS_PER_THREAD))
    rows = np.zeros(n, np.int64)

    def count(part: int) -> npt.NDArray[np.int32] | None:
        cut = slice(n * part // threads, n * (part + 1) // threads)
        columns = np.zeros(m, np.int32)
        return None if _count(cells[cut], by_row[cut], by_column, rows[cut], columns) else columns

    with ThreadPoolExecutor(threads, "ranking") as pool:
        parts = list(pool.map(count, range(threads)))
    found = [columns for columns in parts if columns is not None]
    if len(found) < threads:
        return None
    return torch.from_numpy(rows), torch.from_numpy(np.sum(found, axis=0, dtype=np.int64))


@_compiled
def _count(cells, best, own, rows, columns):  # type: ignore[no-untyped-def]
    """Add the counts of some rows (n, m) to ``rows`` (n,) and ``columns`` (m,); return 1 on a NaN, else 0."""
    nan = np.int32(0)
    for i in range(cells.shape[0]):
        row, threshold, reached = cells[i], best[i], np.int32(0)
        for j in range(cells.shape[1]):
            score = row[j]
            reached += np.int32(score >= threshold)
            columns[j] += np.int32(score >= own[j])
            nan |= np.int32(score != score)
        rows[i] = reached
    return nan
