"""The pairs most likely to be wrong: as a list, as a table, and as a sheet of pictures to judge by eye."""

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
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.types import IntArray

MOST_CARDS = 200
"""A sheet of more cards would be too large to open."""

CARD_WIDTH = 320  # of both pictures together, in pixels


def worst_suspects(table: PairsTable, top: int) -> IntArray:
    """Return the suspected pairs that are most likely wrong.

    Args:
        table: all pairs.
        top: how many at most.

    Returns:
        (k,) rows of the table, worst first: by the lowest probability of being clean, then the largest
        evidence, then the largest margin (none counts as the lowest), then in the order of the table.
    """
    rows = np.flatnonzero(~table.is_clean)
    margin = np.nan_to_num(table.margin[rows], nan=-np.inf)
    order = np.lexsort((-margin, -table.evidence[rows], table.clean_probability[rows]))  # last key first
    return rows[order[:top]]


def suspects_table(table: PairsTable, rows: IntArray) -> Table:
    """Draw suspects for the terminal, one a line, captions shortened to the room there is.

    Args:
        table: all pairs.
        rows: (k,) rows of the table to show.

    Returns:
        A table of pair, probability of being right in percent, caption, given and suggested image, margin.
    """
    shown = plain_table(
        ["pair", "right %"], [("caption", "ellipsis"), ("given", "fold"), ("suggested", "fold")], ["margin"]
    )
    for row in rows.tolist():
        shown.add_row(
            str(table.pair[row]),
            f"{100 * table.clean_probability[row]:.1f}",
            Text(printable(table.caption[row]), no_wrap=True, overflow="ellipsis"),
            Text(_image(table.image_name[row], table.image[row])),
            Text(_suggested(table, row)),
            "" if table.rematch[row] < 0 else f"{table.margin[row]:+.3f}",
        )
    return shown


def plain_table(before: Sequence[str], words: Sequence[tuple[str, Any]], after: Sequence[str]) -> Table:
    """Make an empty table of numbers, words with how they overflow, and numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in before:
        table.add_column(name, justify="right", no_wrap=True)
    for name, overflow in words:
        table.add_column(name, overflow=overflow)
    for name in after:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def plain_rows(table: PairsTable | LabelsTable, rows: IntArray) -> list[dict[str, Any]]:
    """Return rows as plain values, keyed as the columns of the file; None where there is nothing.

    Args:
        table: all pairs.
        rows: (k,) rows of the table.
    """
    columns = {}
    for column in table.columns:
        entries = getattr(table, column.field or column.name)
        if entries is None:
            columns[column.name] = [None] * len(rows)
            continue
        some = entries[rows] if isinstance(entries, np.ndarray) else [entries[row] for row in rows.tolist()]
        columns[column.name] = [None if cell == "" else cell for cell in column.cell.format(some)]
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def suspects_sheet(
    table: PairsTable, rows: IntArray, picture: Callable[[int], Image.Image], title: str = ""
) -> Image.Image:
    """Draw a card for each suspect: given and suggested picture side by side, over the caption.

    Args:
        table: all pairs.
        rows: (k,) rows of the table, at least one.
        picture: draws or loads an image by its number.
        title: a heading over the sheet; empty for none.

    Returns:
        An RGB picture.
    """
    entries = []
    for row in rows.tolist():
        other = table.rematch[row] >= 0
        label = f"{100 * table.clean_probability[row]:.1f}% likely right"
        names = [f"given: {_image(table.image_name[row], table.image[row])}"]
        entries.append(
            SheetEntry(
                picture=picture(int(table.image[row])),
                lines=[printable(table.caption[row])],
                label=f"{label}, margin {table.margin[row]:+.3f}" if other else label,
                beside=picture(int(table.rematch[row])) if other else None,
                names=[*names, f"suggested: {_suggested(table, row)}"] if other else names,
            )
        )
    return contact_sheet(entries, columns=4, width=CARD_WIDTH, title=title)


def check_same_data(table: PairsTable, rows: IntArray, captions: Sequence[str], n_images: int) -> None:
    """Make sure that the pairs were written from this data, so that no wrong picture is shown.

    Args:
        table: all pairs.
        rows: (k,) rows of the table that will be shown.
        captions: captions of the training split.
        n_images: images of the training split.

    Raises:
        DataError: a caption or an image is another one, or is missing.
    """
    for row in rows.tolist():
        pair = int(table.pair[row])
        last = max(table.image[row], table.rematch[row])
        if pair >= len(captions) or captions[pair] != table.caption[row] or last >= n_images:
            raise DataError(
                f"the training data has changed since the run: caption {pair} was "
                f"'{printable(table.caption[row])[:60]}'; restore the old data, or add --no-sheet"
            )


def _image(name: str, number: int) -> str:
    return printable(name) or f"image {number}"


def _suggested(table: PairsTable, row: int) -> str:
    return "" if table.rematch[row] < 0 else _image(table.rematch_name[row], table.rematch[row])


def printable(text: str) -> str:
    """Return a text on one line, without control characters, which a terminal would obey."""
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
