"""The pairs and labels most likely to be wrong: ranked, as a table, and as a sheet of pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table
from rich.text import Text

from noise_injection.printing import visible
from robustcmr.errors import DataError
from robustcmr.reporting.contact_sheet import SheetEntry, contact_sheet
from robustcmr.reporting.numbers import as_text
from robustcmr.reporting.tables import plain_table
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.types import IntArray

MOST_CARDS = 200
"""A sheet of more cards would be too large to open."""


class Suspects(ABC):
    """The suspects among the training pairs of a run.

    Attributes:
        table: all pairs with the method's estimates.
        of: sentence end after the number of suspects.
        columns: headings of the table for the terminal, with the overflow of text or "number".
        card_width: width of a card's pictures, in pixels.
    """

    table: Any
    of: str
    columns: Mapping[str, str]
    card_width: int

    @abstractmethod
    def worst(self) -> IntArray:
        """Return the (k,) rows of all suspects, worst first; of ties the first in the table."""

    @abstractmethod
    def _cells(self, row: int) -> list[str | Text]:
        """A row for the terminal."""

    @abstractmethod
    def _card(self, row: int, picture: Any) -> SheetEntry:
        """A row as a card of the sheet; ``picture`` returns an image by its number."""

    @abstractmethod
    def check(self, rows: IntArray, split: Any) -> None:
        """Check that the table was written from a training split, so that no wrong picture is shown.

        Raises:
            DataError: the data has changed.
        """

    def drawn(self, rows: IntArray) -> Table:
        """Draw (k,) rows for the terminal, one a line, captions shortened to the room there is."""
        shown = plain_table(self.columns)
        for row in rows.tolist():
            shown.add_row(*self._cells(row))
        return shown

    def sheet(self, rows: IntArray, split: Any, title: str = "") -> Image.Image:
        """Draw a card for each of (k,) rows, at least one, as an RGB picture.

        Raises:
            DataError: the training split is not the one that the table was written from.
        """
        self.check(rows, split)
        cards = (self._card(row, split.picture) for row in rows.tolist())  # one picture in memory at a time
        return contact_sheet(cards, columns=4, width=self.card_width, title=title)

    def values(self, rows: IntArray) -> list[dict[str, Any]]:
        """Return (k,) rows as plain values, keyed as the columns of the file; None where there is nothing."""
        columns = {}
        for column in self.table.columns:
            entries = getattr(self.table, column.field or column.name)
            if entries is None and column.name == "id":  # only of data that has ids
                continue
            if entries is None:
                columns[column.name] = [None] * len(rows)
                continue
            some = (
                entries[rows] if isinstance(entries, np.ndarray) else [entries[row] for row in rows.tolist()]
            )
            columns[column.name] = [None if cell == "" else cell for cell in column.cell.format(some)]
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


class SuspectedPairs(Suspects):
    """Pairs called mismatched: by the lowest clean probability, the largest evidence, the largest margin."""

    of = "are suspected"
    card_width = 320  # of both pictures together

    def __init__(self, table: PairsTable) -> None:
        self.table: PairsTable = table
        self.columns = {
            **({"pair": "number"} if table.id is None else {"id": "fold"}),
            **{"right %": "number", "caption": "ellipsis"},
            **{"given": "fold", "suggested": "fold", "margin": "number"},
        }

    def worst(self) -> IntArray:
        """Return the rows of suspected pairs; no margin counts as the lowest."""
        table, rows = self.table, np.flatnonzero(~self.table.is_clean)
        margin = np.nan_to_num(table.margin[rows], nan=-np.inf)
        return rows[np.lexsort((-margin, -table.evidence[rows], table.clean_probability[rows]))]

    def _cells(self, row: int) -> list[str | Text]:
        margin = "" if self.table.rematch[row] < 0 else as_text(float(self.table.margin[row]), "margin")
        right = as_text(float(self.table.clean_probability[row]), "share")
        return [
            str(self.table.pair[row]) if self.table.id is None else printable(self.table.id[row]),
            right,
            _caption(self.table.caption[row]),
            self._given(row),
            self._suggested(row),
            margin,
        ]

    def _card(self, row: int, picture: Any) -> SheetEntry:
        table, other = self.table, self.table.rematch[row] >= 0
        label = f"{as_text(float(table.clean_probability[row]), 'share')}% likely right"
        if other:
            label += f", margin {as_text(float(table.margin[row]), 'margin')}"
        if table.id is not None:
            label = f"{printable(table.id[row])}: {label}"
        names = [f"given: {self._given(row)}", f"suggested: {self._suggested(row)}"]
        return SheetEntry(
            picture=picture(int(table.image[row])),
            lines=[printable(table.caption[row])],
            label=label,
            beside=picture(int(table.rematch[row])) if other else None,
            names=names if other else names[:1],
        )

    def check(self, rows: IntArray, split: Any) -> None:
        """Check captions and images of the rows."""
        table = self.table
        for row in rows.tolist():
            pair, last = int(table.pair[row]), max(table.image[row], table.rematch[row])
            known = split.captions
            if pair >= len(known) or known[pair] != table.caption[row] or last >= split.n_images:
                raise DataError(
                    f"the training data has changed since the run: caption {pair} was "
                    f"'{printable(table.caption[row])[:60]}'; restore the old data, or list the pairs "
                    "with 'robustcmr suspects --no-sheet'"
                )

    def _given(self, row: int) -> str:
        return printable(self.table.image_name[row]) or f"image {self.table.image[row]}"

    def _suggested(self, row: int) -> str:
        image = self.table.rematch[row]
        return "" if image < 0 else printable(self.table.rematch_name[row]) or f"image {image}"


class SuspectedLabels(Suspects):
    """Pairs whose class was corrected: by the largest evidence, where known, then the largest confidence."""

    of = "probably have a wrong class"
    card_width = 200

    def __init__(self, table: LabelsTable) -> None:
        self.table: LabelsTable = table
        self.columns = {
            **{"pair": "number", "confidence %": "number", "evidence": "number"},
            **{"given": "fold", "corrected": "fold", "caption": "ellipsis"},
        }
        for name in ("evidence", "caption"):
            if getattr(table, name) is None:
                del self.columns[name]

    def worst(self) -> IntArray:
        """Return the rows whose corrected class differs from a given one."""
        table, rows = self.table, np.flatnonzero(self.table.changed)
        evidence = np.zeros(len(rows)) if table.evidence is None else table.evidence[rows]
        return rows[np.lexsort((-table.confidence[rows], -evidence))].astype(np.int64)

    def _cells(self, row: int) -> list[str | Text]:
        table = self.table
        cells: list[str | Text] = [str(table.pair[row]), as_text(float(table.confidence[row]), "share")]
        if table.evidence is not None:
            cells.append(as_text(float(table.evidence[row]), "evidence"))
        cells += [self.given(row), self.corrected(row)]
        return cells if table.caption is None else [*cells, _caption(table.caption[row])]

    def _card(self, row: int, picture: Any) -> SheetEntry:
        table = self.table
        lines = [f"given: {self.given(row)}", f"corrected: {self.corrected(row)}"]
        return SheetEntry(
            picture=picture(int(table.pair[row])),
            lines=lines if table.caption is None else [*lines, printable(table.caption[row])],
            label=f"confidence {as_text(float(table.confidence[row]), 'share')}%",
            names=[f"pair {table.pair[row]}"],
        )

    def check(self, rows: IntArray, split: Any) -> None:
        """Check the number of pairs, the classes and the captions of the rows."""
        table, captions = self.table, split.captions
        other = len(table) != len(split) or not {*table.class_names} <= {"", *split.class_names}
        other = other or len(table.class_names) > len(split.class_names)
        other = other or any(table.pair[rows] >= len(split))
        if table.caption is not None and captions is not None and not other:
            other = any(captions[table.pair[row]] != table.caption[row] for row in rows.tolist())
        if other:
            raise DataError(
                f"the training data has changed since the run: its pairs, captions or classes differ from "
                f"the {len(table)} pairs in labels.csv; restore the old data, or list them with "
                "'robustcmr suspects --no-sheet'"
            )

    def given(self, row: int) -> str:
        """Return the given class; that of the image and that of the text where they differ."""
        image, texts = self._name(self.table.given[row]), self.table.given_text
        if texts is None or texts[row] == self.table.given[row]:
            return image
        return f"{image} / {self._name(texts[row])}"

    def corrected(self, row: int) -> str:
        """Return the corrected class, by name or number."""
        return self._name(self.table.corrected[row])

    def _name(self, number: int) -> str:
        return printable(self.table.class_names[number]) or f"class {number}"


def read_suspects(run: RunFolder) -> Suspects:
    """Read what a run suspects: labels if it corrected some, else pairs.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    if run.labels.exists():
        return SuspectedLabels(LabelsTable.read(run.labels))
    return SuspectedPairs(PairsTable.read(run.pairs))


def printable(text: str) -> str:
    """Return a text on one line, blanks once and control characters as escapes."""
    return visible(" ".join(text.split()))


def _caption(text: str) -> Text:
    return Text(printable(text), no_wrap=True, overflow="ellipsis")
