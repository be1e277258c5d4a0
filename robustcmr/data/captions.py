"""Files of captions and identifiers, and captions as one flat table of word indices."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robustcmr.data.base import TextReader
from robustcmr.errors import DataError
from robustcmr.files import read_bytes, reason
from robustcmr.types import IntArray

BoolArray = npt.NDArray[np.bool_]

LOW_COVERAGE = 0.85
"""Share of known words below which a vocabulary is doubted.

Measured on Flickr8K's dev captions: the published vocabulary knows 89.7% of the words, that of 500 training
captions 86.0%, of 5,000 96.2%. Of web captions, Flickr8K's own vocabularies know 56.1% to 74.7%.
"""


def low_coverage(known: float | None, option: str) -> str | None:
    """Return a sentence if a vocabulary knows too small a share of the words, or None.

    ``known`` is the share, 0..1, None if it was not measured; ``option`` is how another vocabulary is given,
    such as ``--vocabulary FILE``.
    """
    if known is None or known >= LOW_COVERAGE:
        return None
    return (
        f"the vocabulary knows only {known:.1%} of the words and at least {LOW_COVERAGE:.0%} were expected; "
        f"check the language and spelling of the captions, or give a vocabulary made for them with {option}"
    )


def read_captions(path: Path) -> list[str]:
    """Read UTF-8 text of one caption a line, without surrounding white space.

    Windows line ends, a byte-order mark and a missing last line end are accepted.

    Raises:
        DataError: the file is missing, empty, not UTF-8, or has lines without a caption.
    """
    return without_blanks(path, read_lines(path), "caption")


def read_ids(path: Path) -> list[str]:
    """Read a text file with one identifier a line; as :func:`read_captions`."""
    return without_blanks(path, read_lines(path), "identifier")


def read_captions_tsv(path: Path) -> tuple[list[str], list[str]]:
    r"""Read ``identifier<TAB>caption`` lines, as CC152K has them; return the identifiers and the captions.

    Quotes are ordinary characters. A tab within a caption is written as ``\t`` and becomes a tab again.
    A third column, such as the image's address, is ignored; a fourth is an error.

    Raises:
        DataError: the file is missing, empty or not UTF-8, or a line has no tab, too many, or no caption.
    """
    columns = [line.split("\t") for line in read_lines(path)]
    bare = [number for number, parts in enumerate(columns, 1) if len(parts) < 2]
    if bare:
        raise DataError(f"{path} has {_where(bare)} without a tab; expected identifier<TAB>caption")
    wide = [number for number, parts in enumerate(columns, 1) if len(parts) > 3]
    if wide:
        raise DataError(
            f"{path} has {_where(wide)} with more than three columns; write a tab within a caption as \\t"
        )
    captions = [parts[1].replace("\\t", "\t") for parts in columns]
    return [parts[0].strip() for parts in columns], without_blanks(path, captions, "caption")


def read_lines(path: Path, strip_end: bool = False) -> list[str]:
    """Read the lines of a UTF-8 text file, at least one; ``strip_end`` drops blank lines at the end.

    Only line feeds end a line: captions contain other characters that Unicode counts as line ends.

    Raises:
        DataError: the file is missing, empty or not UTF-8.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} is not UTF-8 text, see line {line}; convert it to UTF-8") from error
    text = text.rstrip() if strip_end else text.removesuffix("\n")
    if not text:
        raise DataError(f"{path} is empty; expected one entry a line")
    return text.split("\n")


def without_blanks(path: Path, lines: Sequence[str], what: str) -> list[str]:
    """Return the lines of a file without surrounding white space; a DataError if one has no ``what``."""
    entries = [line.strip() for line in lines]
    blank = [number for number, entry in enumerate(entries, 1) if not entry]
    if blank:
        raise DataError(f"{path} has {_where(blank)} without {what}; every line needs one")
    return entries


def _where(lines: Sequence[int], most: int = 5) -> str:
    """Name the first few lines and count all."""
    numbers = ", ".join(str(line) for line in lines[:most])
    if len(lines) == 1:
        return f"one line (line {numbers})"
    return f"{len(lines)} lines (line {numbers}{', ...' if len(lines) > most else ''})"


class TokenTable:
    """Captions as word indices in one flat array, (total,), with the start of each and the end, (n + 1,)."""

    def __init__(
        self, tokens: npt.NDArray[np.int32] | IntArray, offsets: IntArray, padding_index: int = 0
    ) -> None:
        self._tokens = tokens
        self._offsets = offsets
        self._lengths = np.diff(offsets)
        self._padding_index = padding_index

    @classmethod
    def from_captions(cls, captions: Iterable[str], reader: TextReader) -> TokenTable:
        """Encode n captions, start and end marks included."""
        flat, ends = array("i"), array("q", [0])  # a million captions as lists would take a gigabyte
        for indices in reader.encode_many(captions):
            flat.extend(indices)
            ends.append(len(flat))
        return cls(np.array(flat, np.int32), np.array(ends, np.int64), reader.padding_index)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest caption; 0 if there is none."""
        return int(self._lengths.max(initial=0))

    def known_share(self, reader: TextReader) -> float:
        """Return the share of the words that the reader knows, 0..1; 1 if there is no word."""
        if reader.missing_index is None:
            return 1.0
        missing = int((self._tokens == reader.missing_index).sum())
        others = int((reader.is_word[self._tokens] & (self._tokens != reader.missing_index)).sum())
        return others / (others + missing) if others + missing else 1.0

    def padded(self, rows: IntArray) -> tuple[IntArray, BoolArray]:
        """Return captions (k,) padded at the end to the longest: tokens (k, W) int64, and mask (k, W) bool.

        Raises:
            IndexError: a row lies outside 0..n-1.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows must lie in 0..{len(self) - 1}, got {rows.min()}..{rows.max()}")
        lengths = self._lengths[rows]
        place = np.arange(lengths.max(initial=0))
        mask: BoolArray = place[None, :] < lengths[:, None]  # (k, W)
        source = self._offsets[rows][:, None] + place[None, :]  # (k, W)
        tokens = np.full(mask.shape, self._padding_index, dtype=np.int64)
        tokens[mask] = self._tokens[source[mask]]
        return tokens, mask
