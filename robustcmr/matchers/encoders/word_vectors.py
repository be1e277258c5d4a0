"""Word vectors from GloVe-style text files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from robustcmr.errors import DataError

PADDING_WORD = "<pad>"
"""Never looked up: its vector stays zero."""

logger = logging.getLogger("robustcmr")


@dataclass(frozen=True)
class WordVectors:
    """Vectors of the words of a vocabulary found in a file.

    Attributes:
        rows: (k,) int64, indices of the words found, ascending.
        vectors: (k, D) float32.
        n_words: size of the vocabulary without padding.
    """

    rows: Tensor
    vectors: Tensor
    n_words: int

    @property
    def coverage(self) -> str:
        """Return the coverage, such as ``8,120 of 8,481 words (95.7%)``."""
        found = len(self.rows)
        return f"{found:,} of {self.n_words:,} words ({found / max(self.n_words, 1):.1%})"


def load_word_vectors(embedding: nn.Embedding, path: Path, words: Sequence[str]) -> None:
    """Initialise word vectors from a file and log its coverage.

    Args:
        embedding: one row a word; padding and words missing in the file are unchanged.
        path: UTF-8 text, see :func:`read_word_vectors`.
        words: the words by index.

    Raises:
        DataError: the file is missing, damaged or of another width, or has no word of the vocabulary.
    """
    found = read_word_vectors(path, words, embedding.embedding_dim)
    with torch.no_grad():
        embedding.weight[found.rows] = found.vectors.to(embedding.weight)
    logger.info("%s has vectors for %s", path, found.coverage)


def read_word_vectors(path: Path, words: Sequence[str], width: int) -> WordVectors:
    """Read the vectors of some words from a text file of ``word number number ...`` lines.

    Only the vectors of the given words are kept; the first line of a word counts. Empty lines and a first
    line ``words width`` (word2vec, fastText) are skipped. A word may contain spaces: the last ``width``
    columns are the numbers. The width is checked on the first two lines and on lines of known words.

    Args:
        path: UTF-8 text, columns separated by single spaces or tabs.
        words: the words by index; tokens such as ``<unk>`` are looked up, padding is not.
        width: D, numbers a vector.

    Raises:
        DataError: the file is missing, unreadable, damaged or of another width, or has none of the words.
    """
    wanted = {word.encode(): index for index, word in enumerate(words) if word != PADDING_WORD}
    beginnings = {word.split(b" ", 1)[0] for word in wanted}
    found: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.rstrip().replace(b"\t", b" ")
                # fast path: most lines of a large file hold other words and need no split
                if not line or (number > 2 and line.split(b" ", 1)[0] not in beginnings):
                    continue
                parts = line.split(b" ")
                if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
                    continue
                _check_width(path, number, parts, width)
                index = wanted.get(b" ".join(parts[:-width]))
                if index is not None and index not in found:
                    found[index] = _numbers(path, number, parts[-width:])
    except OSError as error:
        raise DataError(
            f"cannot read the word vectors {path}: {error.strerror or error}; give matcher.word_vectors "
            "a text file of 'word number number ...' lines"
        ) from error
    if not found:
        raise DataError(
            f"{path} has none of the {len(wanted)} words of the vocabulary; expected lines of "
            "'word number number ...' in the language of the captions, in lower case"
        )
    rows = sorted(found)
    vectors = torch.from_numpy(np.stack([found[row] for row in rows]))  # (k, D)
    return WordVectors(torch.tensor(rows), vectors, len(wanted))


def _check_width(path: Path, number: int, parts: list[bytes], width: int) -> None:
    if len(parts) <= width:
        advice = (
            "set matcher.word_dim to the width of the file" if number <= 2 else "the file may be cut short"
        )
        raise DataError(
            f"{path}, line {number}: {len(parts) - 1} numbers where matcher.word_dim is {width}; {advice}"
        )
    if number <= 2 and len(parts) > width + 1 and _is_number(parts[-width - 1]):
        raise DataError(
            f"{path}, line {number}: more than {width} numbers, which is matcher.word_dim; set "
            "matcher.word_dim to the width of the file"
        )


def _numbers(path: Path, number: int, parts: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    try:
        with np.errstate(over="ignore"):
            vector = np.array(parts).astype(np.float32)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: {error}; expected 'word number number ...'") from error
    if not np.isfinite(vector).all():
        raise DataError(f"{path}, line {number} holds a number that is not finite; remove the line")
    return vector


def _is_number(part: bytes) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True
