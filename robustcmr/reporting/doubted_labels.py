"""The labels a run doubts most: which they are, as a table, and as a sheet of pictures to judge by eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from rich import box
from rich.table import Table
from rich.text import Text

from robustcmr.errors import DataError
from robustcmr.reporting.contact_sheet import SheetEntry, contact_sheet
from robustcmr.reporting.suspects_sheet import printable
from robustcmr.runs.labels_table import CHANGED, LabelsTable
from robustcmr.types import IntArray

_CARD_WIDTH = 200  # pixels


def most_doubted(table: LabelsTable, top: int) -> IntArray:
    """The pairs whose given class is most likely wrong.

    Args:
        table: all pairs.
        top: how many at most.

    Returns:
        (k,) rows of the table whose corrected class differs from a given one: by the largest evidence against
        it where there is some, then the largest confidence, then in the order of the table.
    """
    rows = np.flatnonzero(table.changed)
    evidence = np.zeros(len(rows)) if table.evidence is None else table.evidence[rows]
    order = np.lexsort((-table.confidence[rows], -evidence))  # last key first
    return rows[order[:top]].astype(np.int64)


def doubted_table(table: LabelsTable, rows: IntArray) -> Table:
    """Doubted labels for the terminal, one pair a line, the captions shortened to what room there is.

    Args:
        table: all pairs.
        rows: (k,) rows of the table to show.

    Returns:
        A table of pair, given and corrected class, confidence and, where known, evidence and caption.
    """
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("pair", justify="right", no_wrap=True)
    shown.add_column("given", overflow="fold")
    shown.add_column("corrected", overflow="fold")
    shown.add_column("confidence", justify="right", no_wrap=True)
    if table.evidence is not None:
        shown.add_column("evidence", justify="right", no_wrap=True)
    if table.caption is not None:
        shown.add_column("caption")
    for row in rows.tolist():
        cells: list[str | Text] = [
            str(table.pair[row]),
            Text(given_class(table, row)),
            Text(_class_name(table, table.corrected[row])),
            f"{table.confidence[row]:.3f}",
        ]
        if table.evidence is not None:
            cells.append(f"{table.evidence[row]:.3f}")
        if table.caption is not None:
            cells.append(Text(printable(table.caption[row]), no_wrap=True, overflow="ellipsis"))
        shown.add_row(*cells)
    return shown


def doubted_rows(table: LabelsTable, rows: IntArray) -> list[dict[str, Any]]:
    """Doubted labels as plain values, keyed as the columns of the file; None where there is nothing.

    Args:
        table: all pairs.
        rows: (k,) rows of the table.
    """
    found = []
    for row in rows.tolist():
        of_text = None if table.given_text is None else int(table.given_text[row])
        found.append(
            {
                "pair": int(table.pair[row]),
                "given": int(table.given[row]),
                "given_name": table.class_names[table.given[row]],
                "given_text": of_text,
                "given_text_name": None if of_text is None else table.class_names[of_text],
                "corrected": int(table.corrected[row]),
                "corrected_name": table.class_names[table.corrected[row]],
                "confidence": float(table.confidence[row]),
                "decision": CHANGED,
                "evidence": None if table.evidence is None else float(table.evidence[row]),
                "caption": None if table.caption is None else table.caption[row],
            }
        )
    return found


def doubted_sheet(
    table: LabelsTable, rows: IntArray, picture: Callable[[int], Image.Image], title: str = ""
) -> Image.Image:
    """A card for each pair: its picture, what was written, its given and its corrected class.

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
                f"corrected: {_class_name(table, table.corrected[row])}",
                *([] if table.caption is None else [printable(table.caption[row])]),
            ],
            label=f"confidence {table.confidence[row]:.2f}",
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
        DataError: the pairs, a caption or the name of a class are others.
    """
    known = [name for name in table.class_names if name]
    other = len(table) != n or not set(known) <= set(class_names)
    if table.caption is not None and captions is not None and not other:
        other = any(captions[table.pair[row]] != table.caption[row] for row in rows.tolist())
    if other:
        raise DataError(
            f"the training data is not the data the run was trained on: its pairs, captions or classes are "
            f"others than those of {len(table)} pairs in the table; put the old data back, or add --no-sheet"
        )


def given_class(table: LabelsTable, row: int) -> str:
    """The given class; that of the image and that of the text where they differ."""
    image = _class_name(table, table.given[row])
    if table.given_text is None or table.given_text[row] == table.given[row]:
        return image
    return f"{image} / {_class_name(table, table.given_text[row])}"


def _class_name(table: LabelsTable, number: int) -> str:
    return printable(table.class_names[number]) or f"class {number}"
