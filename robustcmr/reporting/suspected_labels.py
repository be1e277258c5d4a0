"""The labels most likely to be wrong: as a list, as a table, and as a sheet of pictures to judge by eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image
from rich.table import Table
from rich.text import Text

from robustcmr.errors import DataError
from robustcmr.reporting.contact_sheet import SheetEntry, contact_sheet
from robustcmr.reporting.suspected_pairs import plain_table, printable
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.types import IntArray

_CARD_WIDTH = 200  # pixels


def most_suspected(table: LabelsTable, top: int) -> IntArray:
    """Return the pairs whose given class is most likely wrong.

    Args:
        table: all pairs.
        top: how many at most.

    Returns:
        (k,) rows of the table whose corrected class differs from a given one: by the largest evidence against
        it if known, then the largest confidence, then in the order of the table.
    """
    rows = np.flatnonzero(table.changed)
    evidence = np.zeros(len(rows)) if table.evidence is None else table.evidence[rows]
    order = np.lexsort((-table.confidence[rows], -evidence))  # last key first
    return rows[order[:top]].astype(np.int64)


def suspected_labels_table(table: LabelsTable, rows: IntArray) -> Table:
    """Draw suspected labels for the terminal, one pair a line, captions shortened to the room there is.

    Args:
        table: all pairs.
        rows: (k,) rows of the table to show.

    Returns:
        A table of pair, confidence in percent, evidence and caption where known, given and corrected class.
    """
    numbers = ["pair", "confidence %", *([] if table.evidence is None else ["evidence"])]
    words = [
        ("given", "fold"),
        ("corrected", "fold"),
        *([] if table.caption is None else [("caption", "ellipsis")]),
    ]
    shown = plain_table(numbers, words, [])
    for row in rows.tolist():
        cells: list[str | Text] = [str(table.pair[row]), f"{100 * table.confidence[row]:.1f}"]
        if table.evidence is not None:
            cells.append(f"{table.evidence[row]:.3f}")
        cells += [Text(given_class(table, row)), Text(corrected_class(table, row))]
        if table.caption is not None:
            cells.append(Text(printable(table.caption[row]), no_wrap=True, overflow="ellipsis"))
        shown.add_row(*cells)
    return shown


def suspected_labels_sheet(
    table: LabelsTable, rows: IntArray, picture: Callable[[int], Image.Image], title: str = ""
) -> Image.Image:
    """Draw a card for each pair: its picture, caption, given and corrected class.

    Args:
        table: all pairs.
        rows: (k,) rows of the table, at least one.
        picture: draws or loads the image of a pair by its number.
        title: a heading over the sheet; empty for none.

    Returns:
        An RGB picture.
    """
    entries = [
        SheetEntry(
            picture=picture(int(table.pair[row])),
            lines=[
                f"given: {given_class(table, row)}",
                f"corrected: {corrected_class(table, row)}",
                *([] if table.caption is None else [printable(table.caption[row])]),
            ],
            label=f"confidence {100 * table.confidence[row]:.1f}%",
            names=[f"pair {table.pair[row]}"],
        )
        for row in rows.tolist()
    ]
    return contact_sheet(entries, columns=4, width=_CARD_WIDTH, title=title)


def check_same_labels(
    table: LabelsTable, rows: IntArray, captions: Sequence[str] | None, class_names: Sequence[str], n: int
) -> None:
    """Make sure that the table was written from this data, so that no wrong picture is shown.

    Args:
        table: all pairs.
        rows: (k,) rows of the table that will be shown.
        captions: of the training split, or None.
        class_names: of the training split.
        n: pairs of the training split.

    Raises:
        DataError: the pairs, a caption or the name of a class have changed.
    """
    known = [name for name in table.class_names if name]
    other = len(table) != n or not set(known) <= set(class_names)
    if table.caption is not None and captions is not None and not other:
        other = any(captions[table.pair[row]] != table.caption[row] for row in rows.tolist())
    if other:
        raise DataError(
            f"the training data has changed since the run: its pairs, captions or classes differ from the "
            f"{len(table)} pairs in labels.csv; restore the old data, or add --no-sheet"
        )


def given_class(table: LabelsTable, row: int) -> str:
    """Return the given class; that of the image and that of the text where they differ."""
    image = _class_name(table, table.given[row])
    if table.given_text is None or table.given_text[row] == table.given[row]:
        return image
    return f"{image} / {_class_name(table, table.given_text[row])}"


def corrected_class(table: LabelsTable, row: int) -> str:
    """Return the corrected class, by name or number."""
    return _class_name(table, table.corrected[row])


def _class_name(table: LabelsTable, number: int) -> str:
    return printable(table.class_names[number]) or f"class {number}"
