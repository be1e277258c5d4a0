"""Captions as people give them: texts, files, vectors and generators of texts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.base import ImageStore, LabelledSplit, PairsSplit, TextReader
from robustcmr.data.captions import TokenTable
from robustcmr.data.pairs import NO_WORD
from robustcmr.data.picture_files import shown
from robustcmr.errors import ArgumentError, DataError
from robustcmr.files import reason, regular_file
from robustcmr.jobs.given import (
    Array,
    Items,
    Stream,
    as_array,
    cut_in_parts,
    is_array,
    is_file,
    kind_of,
    prepared_vectors,
    refuse_non_finite,
)
from robustcmr.runs.inputs import RunInputs
from robustcmr.types import IntArray, TextBatch

LONGEST_LINE = 100_000
"""Most characters of a caption in a file; a longer line is no caption."""

_TEXT_FILES = (".txt", ".tsv", ".csv", ".json", ".jsonl")


@dataclass(frozen=True)
class CaptionReader:
    """Reads captions as a run's matcher takes them.

    Attributes:
        inputs: of the run.
        reader: turns captions into indices; None if only vectors of texts are read.
    """

    inputs: RunInputs
    reader: TextReader | None

    def read(self, given: Any, size: int) -> Stream:
        """Return captions: one, several, a ``Path`` of a file with one a line, or vectors (n, V).

        Raises:
            ArgumentError: they are of a kind that the matcher does not read, or there are none.
            DataError: a file is missing or damaged.
        """
        if isinstance(given, str):
            if given.endswith(_TEXT_FILES) and is_file(given):
                raise ArgumentError(
                    f"the caption {given!r} is the name of a file; give pathlib.Path({given!r}) for the "
                    "captions in it"
                )
            return self.captions([given])
        if isinstance(given, os.PathLike):
            return cut_in_parts(caption_lines(Path(given)), size, "captions", self.captions)
        if is_array(given) and as_array(given).dtype.kind not in "OUS":
            return self._vectors(as_array(given))
        if isinstance(given, Iterable) and not isinstance(given, Mapping | bytes | bytearray):
            if isinstance(given, Sequence):
                return self.captions(given)
            return cut_in_parts(given, size, "captions", self.captions)
        raise ArgumentError(
            f"captions are {kind_of(given)}; expected text, a list of texts, or a Path of a file"
        )

    def of_split(self, split: PairsSplit | LabelledSplit) -> Items:
        """Return the captions of a split of the run's data set, prepared as that does."""
        if isinstance(split, LabelledSplit):
            names = split.captions or [f"pair {row}" for row in range(len(split))]
            return self._split_texts(names, split.captions, split.texts)
        return self._split_texts(split.captions, split.captions, split.text_vectors)

    def captions(self, given: Sequence[Any], start: int = 0) -> Items:
        """Return captions that are all at hand; ``start`` is the number of the first in messages."""
        if len(given) == 0:
            raise ArgumentError("no captions were given; give at least one")
        if self.reader is None:
            raise ArgumentError(f"the captions are text, and this run reads {self._expected_vectors}")
        _check_captions(given, start)
        return self.captions_of(list(given))

    def captions_of(self, texts: Sequence[str]) -> Items:
        """Return captions that were checked before, and may be on disk."""
        return Items(texts, lambda rows: self.words([texts[row] for row in rows.tolist()]))

    def words(self, captions: Sequence[str]) -> TextBatch:
        """Return the word indices of some captions."""
        if self.reader is None:
            raise ValueError("captions cannot be read without a reader")
        table = TokenTable.from_captions(captions, self.reader)
        tokens, mask = table.padded(np.arange(len(table), dtype=np.int64))
        return TextBatch(torch.from_numpy(tokens), torch.from_numpy(mask))

    def _vectors(self, array: Array) -> Items:
        width = self.inputs.spec.text_width
        if width is None:
            raise ArgumentError(
                f"the captions are an array {array.shape}, and this run reads words; give a list of texts"
            )
        if array.ndim != 2 or array.shape[1] != width or len(array) == 0 or array.dtype.kind not in "fiu":
            raise ArgumentError(
                f"the captions are an array {array.shape} of {array.dtype}, and this run reads "
                f"{self._expected_vectors}"
            )
        names = [f"text {row}" for row in range(len(array))]

        def batch(rows: IntArray) -> TextBatch:
            vectors = ArrayFeatures(array).take(rows)
            refuse_non_finite(vectors, [names[row] for row in rows.tolist()])
            vectors = prepared_vectors(vectors, self.inputs.texts)[:, 0]
            tokens = torch.full((len(rows), 1), NO_WORD)
            return TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.from_numpy(vectors))

        return Items(names, batch)

    @property
    def _expected_vectors(self) -> str:
        return f"a vector of each text; give an array (n, {self.inputs.spec.text_width})"

    def _split_texts(
        self, names: Sequence[str], captions: Sequence[str] | None, vectors: ImageStore | None
    ) -> Items:
        def batch(rows: IntArray) -> TextBatch:
            tokens = torch.full((len(rows), 1), NO_WORD)
            words = TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool))
            if captions is not None and self.reader is not None:
                words = self.words([captions[row] for row in rows.tolist()])
            known = None if vectors is None else torch.from_numpy(vectors.take(rows)[:, 0])
            return TextBatch(words.tokens, words.mask, known)

        return Items(names, batch)


def caption_lines(path: Path) -> Iterator[str]:
    """Yield the captions of a UTF-8 file, one a line, without surrounding white space.

    Raises:
        DataError: the file is missing or not UTF-8, or a line is empty or longer than ``LONGEST_LINE``.
    """
    number = 0
    try:
        with regular_file(path) as raw, TextIOWrapper(raw, "utf-8-sig", newline="\n") as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise DataError(
                        f"line {number} of {path} has over {LONGEST_LINE:,} characters; expected a caption"
                    )
                caption = line.strip()
                if not caption:
                    raise DataError(f"line {number} of {path} is empty; expected a caption a line")
                yield caption
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text after line {number}; convert it to UTF-8") from error
    except OSError as error:
        raise DataError(
            f"cannot read the captions {shown(str(path), 200)}: {reason(error)}; expected a text file of them"
        ) from error


def _check_captions(captions: Sequence[Any], start: int) -> None:
    for row, caption in enumerate(captions, start):
        if not isinstance(caption, str):
            raise ArgumentError(f"caption {row} is {kind_of(caption)}; expected text")
        if not caption.strip():
            raise ArgumentError(f"caption {row} is empty; expected words")
        try:
            caption.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ArgumentError(
                f"caption {row} holds half a character ({error.reason}); expected valid Unicode text"
            ) from error
