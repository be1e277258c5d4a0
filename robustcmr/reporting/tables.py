"""Tables of results for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from robustcmr.terminal import Console

Results = Mapping[str, Mapping[str, Any]]

DIVISION = {
    "AUROC": "auroc",
    "AP": "average_precision",
    "prec.": "precision",
    "recall": "recall",
    "F1": "f1",
    "acc.": "accuracy",
    "ECE": "calibration_error",
    "susp.": "suspected",
    "noise": "noise_rate",
    "95% int.": "noise_rate_interval",
    "true": "noise_rate_true",
}
"""Columns of a division against the truth: quality, share of suspects, and the noise rate."""

CORRECTION = {
    "given right": "given_accuracy",
    "corrected right": "corrected_accuracy",
    "changed": "changed",
    "repaired": "repaired",
    "broken": "broken",
    "AUROC": "auroc",
    "AP": "average_precision",
    "ECE": "calibration_error",
}
"""Columns of corrected labels against the truth; AUROC and AP are of finding wrong labels."""

REMATCH = {
    "plan": "plan",
    "chance": "chance",
    "row max": "row_max",
    "same mass": "row_max_same_mass",
    "column max": "column_max",
    "reachable": "reachable",
    "mass": "mass",
}
"""Columns of rematching against the truth, beside simpler rules."""

_WAYS = {"image to text": "i2t", "text to image": "t2i"}
_RECALLS = {"R@1": "r1", "R@5": "r5", "R@10": "r10"}
_RANKS = {"MedR": "median_rank", "MeanR": "mean_rank"}
_WIDTH = 5  # "100.0"


def measures_table(results: Results, ranks: bool = False) -> Table:
    """Draw recalls or mAP of several models, splits or runs, one a row, the directions side by side.

    Args:
        results: measures by name of the row, in percent; with ``map`` for labelled data, else ``rsum``.
        ranks: also show the median and mean rank of each direction.

    Returns:
        A table of four columns: name, both directions, and rSum or the mean of both mAP.

    Raises:
        ValueError: a measure is missing; only mAP at a length R may be.
    """
    if any("map" in measures for measures in results.values()):
        keys = {key for measures in results.values() for key in measures if key.startswith("map_at_")}
        lengths = sorted(int(key.removeprefix("map_at_")) for key in keys)
        ends = {"mAP": "", **{f"@{length}": f"_at_{length}" for length in lengths}}
        groups = {
            way: {head: f"{key}{end}" for head, end in ends.items()}
            for way, key in (*((way, f"map_{key}") for way, key in _WAYS.items()), ("mean", "map"))
        }
    else:
        heads = {**_RECALLS, **(_RANKS if ranks else {})}
        groups = {way: {head: f"{key}_{end}" for head, end in heads.items()} for way, key in _WAYS.items()}
        groups[""] = {"rSum": "rsum"}
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(overflow="fold")  # the only column that gives way
    widths = {}
    for way, columns in groups.items():
        heads_line = " ".join(head.rjust(_width(head, key)) for head, key in columns.items())
        widths[way] = max(len(heads_line), len(way))
        head = Text(f"{way.center(len(heads_line)).rstrip()}\n{heads_line.rjust(widths[way])}")
        table.add_column(head, no_wrap=True, min_width=widths[way])
    for name, measures in results.items():
        cells = []
        for way, columns in groups.items():
            line = " ".join(_number(name, measures, key, _width(head, key)) for head, key in columns.items())
            cells.append(line.rjust(widths[way]))
        table.add_row(name, *cells)
    return table


def shares_table(results: Results, columns: Mapping[str, str]) -> Table:
    """Draw shares in percent, one row a run or epoch.

    Args:
        results: shares in 0..1 by name of the row. What a row lacks stays empty there, and a column that all
            rows lack is left out.
        columns: keys of the shares by heading, such as :data:`DIVISION`; ``x_interval`` stands for ``x_low``
            and ``x_high``.
    """
    cells = {
        name: [_percentage(measures, key) for measures in results.values()] for name, key in columns.items()
    }
    cells = {name: column for name, column in cells.items() if any(column)}
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column(overflow="fold")  # the only column that gives way
    for name, column in cells.items():
        width = max(_WIDTH, len(name), *map(len, column))
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for place, name in enumerate(results):
        table.add_row(name, *(column[place] for column in cells.values()))
    return table


def _percentage(measures: Mapping[str, float], key: str) -> str:
    """A share in percent, or both ends of an interval; "" where it is missing."""
    name = key.removesuffix("_interval")
    keys = [key] if name == key else [f"{name}_low", f"{name}_high"]
    return "–".join(f"{100 * measures[k]:.1f}" for k in keys) if all(k in measures for k in keys) else ""


def _width(head: str, key: str) -> int:
    return max(len(head), _WIDTH + 2 if key.endswith("mean_rank") else _WIDTH)


def _number(row: str, measures: Mapping[str, float], key: str, width: int) -> str:
    if key not in measures:
        if "_at_" in key:
            return " " * width
        raise ValueError(f"'{row}' has no measure '{key}', only {', '.join(sorted(measures)) or 'none'}")
    digits = 0 if key.endswith("median_rank") and measures[key] == int(measures[key]) else 1
    return f"{measures[key]:{width}.{digits}f}"


def plain_table(columns: Mapping[str, Any]) -> Table:
    """Return an empty table of numbers and words.

    Args:
        columns: by heading, ``number``, or for words how they overflow: ``fold`` or ``ellipsis``.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, overflow in columns.items():
        if overflow == "number":
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow=overflow)
    return table


def render(table: RenderableType, width: int = 100) -> str:
    """Return a table, or several, as text of ``width`` columns, without colour or trailing blanks."""
    console = Console(file=StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
