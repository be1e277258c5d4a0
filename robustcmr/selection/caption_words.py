"""Captions as vectors of their words, each weighted by how rare it is (TF-IDF)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.types import IntArray


def rare_words(captions: npt.ArrayLike, words: npt.ArrayLike, n_captions: int) -> Any:
    """Return one sparse unit vector a caption; captions that share rare words have a high product.

    A word counts once in a caption, with weight log(n / captions that hold it). A word of every caption, such
    as a mark of the start, has no weight; a caption of such words alone has a vector of zeros.

    Args:
        captions: (E,) int, the caption of each word, in 0..n_captions-1.
        words: (E,) int >= 0, its index in the vocabulary.
        n_captions: n >= 1.

    Returns:
        (n, V) ``scipy.sparse.csr_array``, float32.

    Example:
        >>> vectors = rare_words([0, 0, 1, 1, 2], [0, 1, 0, 2, 0], n_captions=3)
        >>> vectors.toarray().round(2).tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]

    References:
        Spärck Jones, A statistical interpretation of term specificity, 1972.
    """
    from scipy import sparse  # slow to import

    rows, columns = np.asarray(captions, dtype=np.int64), np.asarray(words, dtype=np.int64)
    width = int(columns.max(initial=0)) + 1
    found = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(n_captions, width))
    found.sum_duplicates()
    found.data[:] = 1.0
    holding: IntArray = np.bincount(found.indices, minlength=width)
    found.data *= np.log(n_captions / np.maximum(holding, 1)).astype(np.float32)[found.indices]
    lengths = np.sqrt(np.add.reduceat(np.append(found.data**2, 0.0), found.indptr[:-1]))
    lengths[np.diff(found.indptr) == 0] = 0.0  # reduceat gives an empty row the next value
    found.data /= np.repeat(np.maximum(lengths, 1e-9), np.diff(found.indptr)).astype(np.float32)
    return found
