"""Vectors of one side, opened: how many, how wide, and how they belong to the pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.sources.clip_layout import Side
from robustcmr.sources.fingerprint import file_fingerprint
from robustcmr.sources.vector_keys import Labels, Match
from robustcmr.sources.vector_rows import FileRows, Rows
from robustcmr.types import FloatArray, IntArray

By = Literal["id", "image", "caption", "row", "position", "image position"]


@dataclass(frozen=True)
class Vectors:
    """Vectors of one side, opened but not read.

    Attributes:
        name: what the user gave.
        side: ``image`` or ``text``.
        count: of vectors.
        width: numbers a vector, D.
        by: how a vector belongs to pairs: by a key (``id``, ``image``, ``caption``); by the ``row`` of the
            source; by the ``position`` of the pair, or of the distinct image in order of first appearance
            (``image position``), both counted over all pairs of the source before any filter.
        says: how they are joined and what is missing, one sentence each.
        starts: vector of the first row of each shard, where ``by`` is ``row``.
    """

    name: str
    side: Side
    count: int
    width: int
    by: By
    says: tuple[str, ...]
    rows: Rows = field(repr=False)
    starts: tuple[int, ...] = ()
    labels: Labels | None = field(default=None, repr=False)
    match: Match | None = field(default=None, repr=False)

    def keys(self) -> Iterator[pa.RecordBatch] | None:
        """Yield columns ``key`` (string) and ``at`` (int64), vectors in order; None where there is no key.

        A key may come several times; the smallest ``at`` is meant.
        """
        if self.labels is None or self.match is None:
            return None
        return self._keys(self.labels, self.match)

    def _keys(self, labels: Labels, match: Match) -> Iterator[pa.RecordBatch]:
        for start, batch in labels.batches([match.column]):
            key = match.apply(batch.column(match.column))
            at = pa.array(np.arange(start, start + len(batch), dtype=np.int64))
            yield pa.RecordBatch.from_pydict({"key": key, "at": at})

    def at_rows(self, shards: npt.NDArray[np.integer[Any]], rows: IntArray) -> IntArray:
        """Return which vector belongs to rows (n,) of shards (n,), where ``by`` is ``row``.

        Raises:
            ValueError: ``by`` is something else.
        """
        if self.by != "row":
            raise ValueError(f"these vectors are joined by {self.by}; expected by row")
        starts: IntArray = np.array(self.starts, np.int64)[shards]
        return starts + rows

    def take(self, at: IntArray) -> FloatArray:
        """Return vectors ``at`` (n,), in any order, as (n, D).

        A row is NaN for -1, and where its file ends early or its list has another length; rows of NaN or
        zeros stay as they are.
        """
        return self.rows.take(at)

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells these vectors from others: shape, and size and hash of each file."""
        files = []
        if isinstance(self.rows, FileRows):
            paths = [place.part.path for place in self.rows.places if place.part is not None]
            files = [{"file": path.name, **file_fingerprint(path)} for path in paths]
        return {
            **{"vectors": self.name, "side": self.side, "count": self.count, "width": self.width},
            **{"by": self.by, "files": files},
        }


def check_widths(images: Vectors, texts: Vectors) -> None:
    """Refuse vectors of two sides that no product can compare.

    Raises:
        DataError: their widths differ.
    """
    if images.width != texts.width:
        raise DataError(
            f"the image vectors {images.name} have {images.width} numbers and the text vectors {texts.name} "
            f"{texts.width}; give both from one model"
        )


def unusable(vectors: FloatArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which rows (n,) of (n, D) hold a number that is not finite, and which are zero throughout."""
    return ~np.all(np.isfinite(vectors), 1), ~np.any(vectors, 1)
