"""Texts by number: kept in one Arrow buffer, made into Python's only where they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa

from robustcmr.types import IntArray

_AT_ONCE = 8192  # texts that are Python's at a time


class TextColumn(Sequence[str]):
    """Some rows of an Arrow array of texts, as a sequence of strings.

    A text takes its bytes and 8 more, and each row of ``rows`` another 8; a list of Python's strings would
    take about 60 more a text.

    Args:
        texts: (n,) without nulls.
        rows: (k,) of them, in order; all by default.

    Example:
        >>> list(TextColumn(pa.array(["a", "b", "c"]), np.array([2, 0])))
        ['c', 'a']
    """

    def __init__(self, texts: pa.Array, rows: IntArray | None = None) -> None:
        self._texts = texts
        self._rows = rows

    def __len__(self) -> int:
        return len(self._texts) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._some(np.arange(*index.indices(len(self))))
        number = int(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"text {number} of {len(self)}")
        row = number % len(self) if self._rows is None else int(self._rows[number])
        return self._texts[row].as_py()

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _AT_ONCE):
            yield from self._some(np.arange(first, min(first + _AT_ONCE, len(self))))

    def __repr__(self) -> str:
        return f"<TextColumn of {len(self):,} texts>"

    def chosen(self, numbers: IntArray) -> TextColumn:
        """Return some of the texts as another column of the same buffer."""
        return TextColumn(self._texts, numbers if self._rows is None else self._rows[numbers])

    def _some(self, numbers: IntArray) -> list[str]:
        rows = numbers if self._rows is None else self._rows[numbers]
        found: list[str] = self._texts.take(pa.array(rows, pa.int64())).to_pylist()
        return found
