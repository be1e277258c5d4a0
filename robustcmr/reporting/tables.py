"""Tables of results for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_DIRECTIONS = {"image to text": "i2t", "text to image": "t2i"}
_RECALLS = {"R@1": "r1", "R@5": "r5", "R@10": "r10"}
_RANKS = {"MedR": "median_rank", "MeanR": "mean_rank"}
_WIDTH = 5  # "100.0"


def recall_table(
    results: Mapping[str, Mapping[str, float]],
    ranks: bool = False,
    title: str | None = None,
    rows: str = "",
) -> Table:
    """Recalls of several models, splits or runs, one a row, the two directions side by side.

    Args:
        results: measures by name of the row, keyed as in ``RetrievalMetrics.to_dict``; recalls in percent.
        ranks: also show the median and mean rank of each direction.
        title: what stands above.
        rows: what the rows are, such as ``split``.

    Returns:
        A table of four columns: name, both directions, rSum.

    Raises:
        ValueError: a measure is missing.
    """
    columns = {**_RECALLS, **_RANKS} if ranks else _RECALLS
    heads = " ".join(name.rjust(_width(key)) for name, key in columns.items())
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(Text(f"\n{rows}"), overflow="fold")  # the only column that gives way
    for direction in _DIRECTIONS:
        table.add_column(
            Text(f"{direction.center(len(heads)).rstrip()}\n{heads}"), no_wrap=True, min_width=len(heads)
        )
    table.add_column(Text("\nrSum"), justify="right", no_wrap=True, min_width=_WIDTH)
    for name, measures in results.items():
        cells = [
            Text(
                " ".join(_number(name, measures, f"{prefix}_{key}", _width(key)) for key in columns.values())
            )
            for prefix in _DIRECTIONS.values()
        ]
        table.add_row(Text(name), *cells, Text(_number(name, measures, "rsum", _WIDTH)))
    return table


def _width(key: str) -> int:
    return _WIDTH + 2 if key == "mean_rank" else _WIDTH


def _number(row: str, measures: Mapping[str, float], key: str, width: int) -> str:
    if key not in measures:
        raise ValueError(f"'{row}' has no measure '{key}', only {', '.join(sorted(measures)) or 'none'}")
    digits = 0 if key.endswith("median_rank") and measures[key] == int(measures[key]) else 1
    return f"{measures[key]:{width}.{digits}f}"


def render(table: Table, width: int = 100) -> str:
    """A table as plain text without colour, for a log or a file.

    Args:
        table: any table.
        width: columns available; longer lines are cut.

    Returns:
        The lines, each ended by a newline, without blanks at their ends.
    """
    console = Console(file=StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
