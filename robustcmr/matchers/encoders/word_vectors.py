"""Word vectors from GloVe-style text files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from robustcmr.errors import DataError
from robustcmr.files import reason, regular_file
from robustcmr.matchers.base import Pretrained
from robustcmr.types import DataSpec

PADDING_WORD = "<pad>"
"""Never looked up: its vector stays zero."""

LONGEST_LINE = 2**20
"""Bytes of a line, at most."""

logger = logging.getLogger("robustcmr")


class WordEmbedding(Pretrained, nn.Embedding):
    """Learned word vectors, zero at padding, that may start from a file.

    Args:
        spec: number of words, their index and that of padding.
        width: numbers a vector.
        path: UTF-8 text, see :func:`read_word_vectors`; None starts at random.
    """

    def __init__(self, spec: DataSpec, width: int, path: Path | None) -> None:
        super().__init__(spec.vocabulary_size, width, padding_idx=spec.padding_index)
        self._words, self._path = spec.words, path

    def draw(self) -> None:
        """Draw the vectors uniformly from -0.1..0.1."""
        nn.init.uniform_(self.weight, -0.1, 0.1)
        with torch.no_grad():
            self.weight[self.padding_idx].zero_()

    def load_pretrained(self) -> None:
        """Copy the vectors of the words in the file, leave the others, and log the coverage.

        Raises:
            DataError: the file is missing, damaged or of another width, or has no word of the vocabulary.
        """
        if self._path is None:
            return
        rows, vectors = read_word_vectors(self._path, self._words, self.embedding_dim)
        with torch.no_grad():
            self.weight[rows] = vectors.to(self.weight)
        found, n_words = len(rows), len(set(self._words) - {PADDING_WORD})
        logger.info(
            "%s has vectors for %s", self._path, f"{found:,} of {n_words:,} words ({found / n_words:.1%})"
        )


def read_word_vectors(path: Path, words: Sequence[str], width: int) -> tuple[Tensor, Tensor]:
    """Read the vectors of some words from a text file of ``word number number ...`` lines.

    Only the vectors of the given words are kept; the first line of a word counts. Empty lines and a first
    line ``words width`` (word2vec, fastText) are skipped. A word may contain spaces: the last ``width``
    columns are the numbers. The width is checked on the first two lines and on lines of known words.

    Args:
        path: UTF-8 text, columns separated by single spaces or tabs.
        words: the words by index; tokens such as ``<unk>`` are looked up, padding is not.
        width: D, numbers a vector.

    Returns:
        Indices of the k words found, ascending, (k,) int64, and their vectors, (k, D) float32.

    Raises:
        DataError: the file is missing, unreadable, damaged or of another width, or has none of the words.
    """
    wanted = {word.encode(): index for index, word in enumerate(words) if word != PADDING_WORD}
    beginnings = {word.split(b" ", 1)[0] for word in wanted}
    found: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
    try:
        with regular_file(path) as file:
            for number, raw in enumerate(iter(partial(file.readline, LONGEST_LINE), b""), 1):
                if len(raw) == LONGEST_LINE:
                    raise DataError(
                        f"{path}, line {number} has {LONGEST_LINE:,} bytes or more; expected lines of 'word "
                        "number number ...'"
                    )
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
        raise DataError(f"cannot read the word vectors {path}: {reason(error)}") from error
    if not found:
        raise DataError(
            f"{path} has none of the {len(wanted)} words of the vocabulary; expected lines of "
            "'word number number ...' in the language of the captions, in lower case"
        )
    rows = sorted(found)
    return torch.tensor(rows), torch.from_numpy(np.stack([found[row] for row in rows]))


def _check_width(path: Path, number: int, parts: list[bytes], width: int) -> None:
    if len(parts) <= width:
        advice = "the file may be cut short" if number > 2 else "expected lines of 'word number number ...'"
        if number <= 2 and len(parts) > 1:
            advice = f"add --set matcher.word_dim={len(parts) - 1}"
        raise DataError(
            f"{path}, line {number}: {len(parts) - 1} numbers where matcher.word_dim is {width}; {advice}"
        )
    if number <= 2 and len(parts) > width + 1 and _is_number(parts[-width - 1]):
        raise DataError(
            f"{path}, line {number}: more than {width} numbers, which is matcher.word_dim; add "
            f"--set matcher.word_dim={len(parts) - 1}"
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
