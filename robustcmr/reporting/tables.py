"""Tables of results for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

_DIRECTIONS = {"image to text": "i2t", "text to image": "t2i"}
_RECALLS = {"R@1": "r1", "R@5": "r5", "R@10": "r10"}
_RANKS = {"MedR": "median_rank", "MeanR": "mean_rank"}
_WIDTH = 5  # "100.0"

_DIVISION = {
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
_CORRECTION = {
    "given right": "given_accuracy",
    "corrected right": "corrected_accuracy",
    "changed": "changed",
    "repaired": "repaired",
    "broken": "broken",
    "AUROC": "auroc",
    "AP": "average_precision",
    "ECE": "calibration_error",
}
_REMATCH = {
    "plan": "plan",
    "chance": "chance",
    "row max": "row_max",
    "same mass": "row_max_same_mass",
    "column max": "column_max",
    "reachable": "reachable",
    "mass": "mass",
}


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


def map_table(
    results: Mapping[str, Mapping[str, float]],
    title: str | None = None,
    rows: str = "",
) -> Table:
    """Mean average precision of several models, splits or runs, one a row, over the whole ranking and at R.

    Args:
        results: measures by name of the row, keyed as in ``LabelRetrievalMetrics.to_dict``; in percent. A
            length R that a row lacks stays empty there.
        title: what stands above.
        rows: what the rows are, such as ``split``.

    Returns:
        A table of four columns: name, both directions, their mean.

    Raises:
        ValueError: a row has no ``map``.
    """
    lengths = sorted(
        {
            int(key.removeprefix("map_at_"))
            for measures in results.values()
            for key in measures
            if key.startswith("map_at_")
        }
    )
    ends = {"mAP": "", **{f"@{length}": f"_at_{length}" for length in lengths}}
    heads = " ".join(name.rjust(_WIDTH) for name in ends)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(Text(f"\n{rows}"), overflow="fold")  # the only column that gives way
    ways = {**{way: f"map_{key}" for way, key in _DIRECTIONS.items()}, "mean": "map"}
    for way in ways:
        width = max(len(heads), len(way))
        table.add_column(
            Text(f"{way.center(len(heads)).rstrip()}\n{heads.rjust(width)}"), no_wrap=True, min_width=width
        )
    for name, measures in results.items():
        cells = []
        for way, key in ways.items():
            shown = [
                _number(name, measures, key + end, max(_WIDTH, len(head)))
                if not end or key + end in measures
                else " " * max(_WIDTH, len(head))
                for head, end in ends.items()
            ]
            cells.append(Text(" ".join(shown).rjust(max(len(heads), len(way)))))
        table.add_row(Text(name), *cells)
    return table


def correction_table(
    results: Mapping[str, Mapping[str, float]],
    title: str | None = None,
    rows: str = "",
) -> Table:
    """How right given and corrected labels are, and how well wrong ones are found, one a row, in percent.

    Args:
        results: measures by name of the row, keyed as in ``LabelDiagnosis.to_dict``; shares in 0..1. What a
            row lacks stays empty there, and a column that all rows lack is left out.
        title: what stands above.
        rows: what the rows are, such as ``epoch``.

    Returns:
        A table of a name and up to eight measures; AUROC and AP are of finding pairs with a wrong label, ECE
        is the calibration error of the confidence.
    """
    return _percentages(results, _CORRECTION, title, rows)


def division_table(
    results: Mapping[str, Mapping[str, float]],
    title: str | None = None,
    rows: str = "",
) -> Table:
    """How well divisions agree with the truth, one a row, in percent.

    Args:
        results: measures by name of the row, keyed as in ``DivisionDiagnosis.to_dict``; shares in 0..1. What
            a row lacks stays empty there, and a column that all rows lack is left out.
        title: what stands above.
        rows: what the rows are, such as ``epoch``.

    Returns:
        A table of a name and up to eleven columns, among them the share of suspected pairs, and the noise
        rate as estimated, with its 95% interval, and as it is.
    """
    return _percentages(results, _DIVISION, title, rows)


def rematch_table(
    results: Mapping[str, Mapping[str, float]],
    title: str | None = None,
    rows: str = "",
) -> Table:
    """How well methods rematch, beside simpler rules, one a row, in percent.

    Args:
        results: measures by name of the row, keyed as in ``RematchQuality.to_dict``; shares in 0..1. What a
            row lacks stays empty there, and a column that all rows lack is left out.
        title: what stands above.
        rows: what the rows are, such as ``epoch``.

    Returns:
        A table of a name and up to seven measures.
    """
    return _percentages(results, _REMATCH, title, rows)


def _percentages(
    results: Mapping[str, Mapping[str, float]], columns: Mapping[str, str], title: str | None, rows: str
) -> Table:
    cells = {
        name: [_percentage(measures, key) for measures in results.values()] for name, key in columns.items()
    }
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column(Text(rows), overflow="fold")  # the only column that gives way
    shown = [name for name, column in cells.items() if any(column)]
    for name in shown:
        width = max(_WIDTH, len(name), *map(len, cells[name]))
        table.add_column(Text(name), justify="right", no_wrap=True, min_width=width)
    for place, name in enumerate(results):
        table.add_row(Text(name), *(Text(cells[column][place]) for column in shown))
    return table


def _percentage(measures: Mapping[str, float], key: str) -> str:
    """A share in percent, or both ends of an interval; "" where it is not there."""
    keys = (
        [f"{key.removesuffix('_interval')}_{end}" for end in ("low", "high")] if "interval" in key else [key]
    )
    return "–".join(f"{100 * measures[k]:.1f}" for k in keys) if all(k in measures for k in keys) else ""


def _width(key: str) -> int:
    return _WIDTH + 2 if key == "mean_rank" else _WIDTH


def _number(row: str, measures: Mapping[str, float], key: str, width: int) -> str:
    if key not in measures:
        raise ValueError(f"'{row}' has no measure '{key}', only {', '.join(sorted(measures)) or 'none'}")
    digits = 0 if key.endswith("median_rank") and measures[key] == int(measures[key]) else 1
    return f"{measures[key]:{width}.{digits}f}"


def render(table: RenderableType, width: int = 100) -> str:
    """A table as plain text without colour, for a log or a file.

    Args:
        table: any table, or several.
        width: columns available; longer lines are cut.

    Returns:
        The lines, each ended by a newline, without blanks at their ends.
    """
    console = Console(file=StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
