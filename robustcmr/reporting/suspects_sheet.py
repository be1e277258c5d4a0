"""The worst suspects of a run: which they are, as a table, and as a sheet of pictures to judge by eye."""

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
from robustcmr.runs.pairs_table import SUSPECT, PairsTable
from robustcmr.types import IntArray

MOST_CARDS = 200
"""A sheet of more cards would be too large to open."""

CARD_WIDTH = 320  # of both pictures together, in pixels


def worst_suspects(table: PairsTable, top: int) -> IntArray:
    """The suspected pairs that are most likely wrong.

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
    """Suspects for the terminal, one a line, the captions shortened to what room there is.

    Args:
        table: all pairs.
        rows: (k,) rows of the table to show.

    Returns:
        A table of pair, probability of being clean, caption, given and suggested image, and margin.
    """
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("pair", justify="right", no_wrap=True)
    shown.add_column("P(clean)", justify="right", no_wrap=True)
    shown.add_column("caption")
    shown.add_column("given", overflow="fold")
    shown.add_column("suggested", overflow="fold")
    shown.add_column("margin", justify="right", no_wrap=True)
    for row in rows.tolist():
        shown.add_row(
            str(table.pair[row]),
            _probability(table.clean_probability[row]),
            Text(printable(table.caption[row]), no_wrap=True, overflow="ellipsis"),
            Text(given_name(table, row)),
            Text(suggested_name(table, row)),
            "" if table.rematch[row] < 0 else f"{table.margin[row]:+.3f}",
        )
    return shown


def suspect_rows(table: PairsTable, rows: IntArray) -> list[dict[str, Any]]:
    """Suspects as plain values, keyed as the columns of the file; None where there is nothing.

    Args:
        table: all pairs.
        rows: (k,) rows of the table.
    """
    margin = table.margin
    found = []
    for row in rows.tolist():
        other = table.rematch[row] >= 0
        found.append(
            {
                "pair": int(table.pair[row]),
                "caption": table.caption[row],
                "image": int(table.image[row]),
                "image_name": table.image_name[row] or None,
                "evidence": float(table.evidence[row]),
                "clean_probability": float(table.clean_probability[row]),
                "decision": SUSPECT,
                "rematch": int(table.rematch[row]) if other else None,
                "rematch_name": table.rematch_name[row] or None,
                "score": float(table.score[row]),
                "rematch_score": float(table.rematch_score[row]) if other else None,
                "margin": float(margin[row]) if other else None,
            }
        )
    return found


def suspects_sheet(
    table: PairsTable, rows: IntArray, picture: Callable[[int], Image.Image], title: str = ""
) -> Image.Image:
    """A card for each suspect: given and suggested picture side by side, over the caption.

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
        label = f"P(clean) {_probability(table.clean_probability[row])}"
        entries.append(
            SheetEntry(
                picture=picture(int(table.image[row])),
                lines=[printable(table.caption[row])],
                label=f"{label}, margin {table.margin[row]:+.3f}" if other else label,
                beside=picture(int(table.rematch[row])) if other else None,
                names=[f"given: {given_name(table, row)}"]
                + ([f"suggested: {suggested_name(table, row)}"] if other else []),
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
        DataError: a caption or an image is another one, or is not there.
    """
    for row in rows.tolist():
        pair = int(table.pair[row])
        if (
            pair >= len(captions)
            or captions[pair] != table.caption[row]
            or max(table.image[row], table.rematch[row]) >= n_images
        ):
            raise DataError(
                f"the training data is not the data the run was trained on: pair {pair} was "
                f"'{printable(table.caption[row])[:60]}'; put the old data back, or add --no-sheet"
            )


def given_name(table: PairsTable, row: int) -> str:
    """Name of the given image, or its number."""
    return printable(table.image_name[row]) or f"image {table.image[row]}"


def suggested_name(table: PairsTable, row: int) -> str:
    """Name of the best other image, or its number; "" where there is none."""
    if table.rematch[row] < 0:
        return ""
    return printable(table.rematch_name[row]) or f"image {table.rematch[row]}"


def printable(text: str) -> str:
    """A text on one line, without what a terminal would obey instead of showing."""
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def _probability(value: float) -> str:
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"
