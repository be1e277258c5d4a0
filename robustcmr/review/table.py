"""A CSV file of the sample: a row a verdict, and one for each pair without any, to be filled in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from robustcmr.review.exchange import Came, Sent

COLUMNS = ("id", "image", "caption", "stratum", "probability", "verdict", "by", "at")


def table(sent: Sequence[Sent]) -> str:
    """Return the sample as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for one in sent:
        item = one.item
        start = (item.id, item.image, item.caption, item.stratum, repr(item.probability))
        for label in one.labels:
            writer.writerow((*start, label.verdict, label.by, label.at))
        if not one.labels:
            writer.writerow((*start, "", "", ""))
    return text.getvalue()


def read_table(text: str) -> Iterator[Came]:
    """Yield the verdicts of such a file; rows without one are passed over.

    Raises:
        ValueError: the columns ``id`` and ``verdict`` are missing, or a row does not fit.
    """
    try:
        yield from _rows(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"it is no CSV: {error}") from error


def _rows(rows: csv.DictReader[str]) -> Iterator[Came]:
    names = rows.fieldnames or []
    for name in ("id", "verdict"):
        if name not in names:
            raise ValueError(f"there is no column {name!r} among {', '.join(names)[:200] or 'none'}")
    for number, row in enumerate(rows, 2):
        if not (row["verdict"] or "").strip():
            continue
        where = f"row {number}"
        chance = _probability(row.get("probability"), where)
        by, at = row.get("by") or None, row.get("at") or None
        yield Came(row["id"] or "", row["verdict"], by, at, where, None, chance)


def _probability(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{where}: the probability is {text!r}, expected a number") from error
