"""What a whole-set rematching suggests for every suspected pair, as a CSV file any program can read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from robustcmr.files import write_with
from robustcmr.runs.cells import six_digits
from robustcmr.types import IntArray

Values = npt.NDArray[np.float64]

COLUMNS = (
    "pair",
    "caption",
    "image",
    "image_name",
    "clean_probability",
    "rematch",
    "rematch_name",
    "score",
    "rematch_score",
    "margin",
    "rank",
    "share",
    "share_margin",
    "moved",
)
"""Columns of the file, in this order; those that pairs.csv has too mean the same."""


@dataclass(frozen=True)
class RematchesTable:
    """All n suspected pairs with the image that the plan suggests.

    Attributes:
        pair: (n,) int64, the caption row in the training set.
        caption: n captions as they were written.
        image: (n,) int64, the given image.
        image_name: n names of the given images; "" where unknown.
        clean_probability: (n,) in 0..1.
        rematch: (n,) int64, the suggested image; -1 where there is none.
        rematch_name: n names of the suggested images; "" where unknown.
        score: (n,) similarity of caption and given image.
        rematch_score: (n,) similarity of caption and suggested image; NaN where there is none.
        rank: (n,) int64, place of the suggestion among the candidates by score, from 1; 0 where there is
            none.
        share: (n,) part of what the caption moves that goes to the suggestion; NaN where there is none.
        share_margin: (n,) by how much that exceeds the next image's part; NaN likewise.
        moved: (n,) part of the caption's mass that the plan moves, in 0..1; a dense plan may move more.
    """

    pair: IntArray
    caption: Sequence[str]
    image: IntArray
    image_name: Sequence[str]
    clean_probability: Values
    rematch: IntArray
    rematch_name: Sequence[str]
    score: Values
    rematch_score: Values
    rank: IntArray
    share: Values
    share_margin: Values
    moved: Values

    def __post_init__(self) -> None:
        n = len(self.pair)
        for name, column in vars(self).items():
            if len(column) != n:
                raise ValueError(f"{name} has {len(column)} entries for {n} pairs; give one a pair")

    def __len__(self) -> int:
        return len(self.pair)


def write_rematches(path: Path, table: RematchesTable) -> None:
    """Write a table of rematches as CSV (UTF-8, header, text quoted), atomically.

    ``margin`` is ``rematch_score - score``. Numbers have six significant digits; where nothing is suggested
    the columns of the suggestion are empty.

    Args:
        path: the file.
        table: the rematches; none give a file of the header alone.

    Raises:
        UserError: the file cannot be written.
    """

    def fill(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        writer.writerows(
            zip(
                table.pair.tolist(),
                table.caption,
                table.image.tolist(),
                table.image_name,
                six_digits(table.clean_probability),
                ("" if image < 0 else image for image in table.rematch.tolist()),
                table.rematch_name,
                six_digits(table.score),
                six_digits(table.rematch_score),
                six_digits(table.rematch_score - table.score),
                ("" if rank < 1 else rank for rank in table.rank.tolist()),
                six_digits(table.share),
                six_digits(table.share_margin),
                six_digits(table.moved),
                strict=True,
            )
        )
        text.detach()  # all is written, and the file stays open

    write_with(path, fill)
