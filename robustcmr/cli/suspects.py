"""``robustcmr suspects``: the pairs or labels that a finished run suspects, worst first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustcmr.cli.options import AsJson, output, table_console

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table

    from robustcmr.runs.folder import RunFolder
    from robustcmr.types import IntArray


@dataclass(frozen=True)
class Suspects:
    """The worst suspects of a run, whether pairs or labels.

    Attributes:
        pairs: number of training pairs.
        total: number of suspected ones.
        rows: (k,) rows of the table to show, worst first.
        of: what is suspected, for the summary.
        table: returns a table of them for the terminal.
        values: returns them as plain values.
        sheet: returns a contact sheet, from the training split, some rows and a title.
    """

    pairs: int
    total: int
    rows: IntArray
    of: str
    table: Callable[[], Table]
    values: Callable[[], list[dict[str, Any]]]
    sheet: Callable[[Any, IntArray, str], Image.Image]


def suspects(
    run: Annotated[
        Path, typer.Argument(help="Run folder of a method that divides pairs or corrects labels.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Most suspects to show.")] = 50,
    target: Annotated[
        Path | None, output("Contact sheet to write, PNG; RUN/suspects.png by default.")
    ] = None,
    as_json: AsJson = False,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Write no contact sheet.")] = False,
) -> None:
    """List the pairs that a run suspects, with the image or the class it suggests instead.

    If the data has pictures, a contact sheet shows them.

    Examples:
      robustcmr suspects runs/a
      robustcmr suspects runs/a --top 200 --no-sheet --json
    """
    from robustcmr.cli.output import print_json
    from robustcmr.errors import ConfigError
    from robustcmr.runs.folder import RunFolder

    if no_sheet and target is not None:
        raise ConfigError("--output names a contact sheet and --no-sheet leaves it out; give one of them")
    folder = RunFolder(run)
    folder.require_estimates(folder.pairs, folder.labels)
    found = _suspected_labels(folder, top) if folder.labels.is_file() else _suspected_pairs(folder, top)
    console = table_console()
    if not as_json and len(found.rows):
        console.print(found.table())
    if not as_json:
        console.print(_summary(found), highlight=False, soft_wrap=True)
    sheet = None
    if len(found.rows) and not no_sheet:
        sheet = _write_sheet(folder, found, target if target is not None else folder.suspects)
    if as_json:
        print_json(
            {
                "run": str(run),
                "pairs": found.pairs,
                "suspected": found.total,
                "sheet": None if sheet is None else str(sheet),
                "suspects": found.values(),
            }
        )
    elif sheet is not None:
        console.print(f"wrote {sheet}", highlight=False, markup=False, soft_wrap=True)


def _suspected_pairs(run: RunFolder, top: int) -> Suspects:
    from robustcmr.reporting.suspected_pairs import (
        check_same_data,
        plain_rows,
        suspects_sheet,
        suspects_table,
        worst_suspects,
    )
    from robustcmr.runs.pairs_table import PairsTable

    table = PairsTable.read(run.pairs)
    worst = worst_suspects(table, top)

    def sheet(split: Any, rows: IntArray, title: str) -> Image.Image:
        check_same_data(table, rows, split.captions, split.n_images)
        return suspects_sheet(table, rows, split.picture, title)

    return Suspects(
        len(table),
        int((~table.is_clean).sum()),
        worst,
        "are suspected",
        lambda: suspects_table(table, worst),
        lambda: plain_rows(table, worst),
        sheet,
    )


def _suspected_labels(run: RunFolder, top: int) -> Suspects:
    from robustcmr.reporting.suspected_labels import (
        check_same_labels,
        most_suspected,
        suspected_labels_sheet,
        suspected_labels_table,
    )
    from robustcmr.reporting.suspected_pairs import plain_rows
    from robustcmr.runs.labels_table import LabelsTable

    table = LabelsTable.read(run.labels)
    worst = most_suspected(table, top)

    def sheet(split: Any, rows: IntArray, title: str) -> Image.Image:
        check_same_labels(table, rows, split.captions, split.class_names, len(split))
        return suspected_labels_sheet(table, rows, split.picture, title)

    return Suspects(
        len(table),
        int(table.changed.sum()),
        worst,
        "probably have a wrong class",
        lambda: suspected_labels_table(table, worst),
        lambda: plain_rows(table, worst),
        sheet,
    )


def _summary(found: Suspects) -> str:
    if found.total == 0:
        return f"none of {found.pairs:,} pairs is suspected"
    shown = len(found.rows)
    worst = "all of them shown" if shown == found.total else f"the worst {shown:,} shown"
    share = f"{found.total / found.pairs:.1%}"
    return f"{found.total:,} of {found.pairs:,} pairs ({share}) {found.of}, {worst}"


def _write_sheet(run: RunFolder, found: Suspects, path: Path) -> Path | None:
    """Write the contact sheet; return None, with a line on stderr, if the data has no pictures."""
    from robustcmr.config.resolve import run_config
    from robustcmr.errors import DataError, UserError
    from robustcmr.files import write_with
    from robustcmr.reporting.suspected_pairs import MOST_CARDS

    try:
        config = run_config(run.config)
        split = config.data.cls(config.data.options).split("train")
    except UserError as error:
        raise DataError(
            f"cannot open the data of {run.path} for the pictures: {error}; leave them out with --no-sheet"
        ) from error
    if split.picture is None:
        sys.stderr.write(
            f"{config.data.name} holds features without pictures, so there is no contact sheet\n"
        )
        return None
    if len(found.rows) > MOST_CARDS:
        sys.stderr.write(f"the contact sheet shows the first {MOST_CARDS} only\n")
    sheet = found.sheet(split, found.rows[:MOST_CARDS], f"Worst suspects of {run.path.absolute().name}")
    write_with(path, lambda file: sheet.save(file, format="PNG"))
    return path
