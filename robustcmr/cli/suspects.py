"""``robustcmr suspects``: the pairs a finished run believes to be wrong, worst first."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from robustcmr.run_folder import RunFolder
    from robustcmr.types import IntArray, PairsTable

PLAIN_WIDTH = 200
"""Columns of a table that goes to a file or another program."""


def suspects(
    run: Annotated[Path, typer.Argument(help="Run folder of a method that divides the pairs.")],
    top: Annotated[int, typer.Option(min=1, help="How many to show at most.")] = 50,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Contact sheet to write, PNG; RUN/suspects.png by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the suspects as JSON.")] = False,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Write no contact sheet.")] = False,
) -> None:
    """List the pairs a run believes to be wrong, with the image it would rather give to each caption.

    Where the data has pictures, given and suggested ones are put side by side on a contact sheet.
    """
    from rich.console import Console

    from robustcmr.cli.output import print_json
    from robustcmr.errors import ConfigError
    from robustcmr.reporting.pairs_table import read_pairs
    from robustcmr.reporting.suspects_sheet import suspect_rows, suspects_table, worst_suspects
    from robustcmr.run_folder import RunFolder

    if no_sheet and output is not None:
        raise ConfigError("--output names the contact sheet that --no-sheet leaves out; give one of the two")
    folder = RunFolder(run)
    _require_pairs(folder)
    table = read_pairs(folder.pairs)
    rows = worst_suspects(table, top)
    total = int((~table.is_clean).sum())
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    if not as_json and len(rows):
        console.print(suspects_table(table, rows))
    if not as_json:
        console.print(_summary(len(rows), total, len(table)), highlight=False, soft_wrap=True)
    sheet = None
    if len(rows) and not no_sheet:
        sheet = _write_sheet(folder, table, rows, output if output is not None else folder.suspects)
    if as_json:
        print_json(
            {
                "run": str(run),
                "pairs": len(table),
                "suspected": total,
                "sheet": None if sheet is None else str(sheet),
                "suspects": suspect_rows(table, rows),
            }
        )
    elif sheet is not None:
        console.print(f"wrote {sheet}", highlight=False, markup=False, soft_wrap=True)


def _require_pairs(run: RunFolder) -> None:
    from robustcmr.errors import RunFolderError

    run.require_trained()
    if run.pairs.is_file():
        return
    if run.read_results() is None:
        raise RunFolderError(
            f"{run.path} has no {run.pairs.name} yet; finish it by 'robustcmr train --resume {run.path}'"
        )
    raise RunFolderError(
        f"{run.path} has no {run.pairs.name}: its method does not say which pairs it believes to be wrong; "
        "train one that divides the pairs"
    )


def _summary(shown: int, total: int, pairs: int) -> str:
    if total == 0:
        return f"none of {pairs:,} pairs is suspected"
    worst = "all of them shown" if shown == total else f"the worst {shown:,} shown"
    return f"{total:,} of {pairs:,} pairs ({total / pairs:.1%}) are suspected, {worst}"


def _write_sheet(run: RunFolder, table: PairsTable, rows: IntArray, path: Path) -> Path | None:
    """Put the suspects' pictures on a sheet; None, and a line on stderr, where the data has no pictures."""
    from robustcmr.config.resolve import read_config, resolve
    from robustcmr.errors import DataError, UserError
    from robustcmr.files import write_with
    from robustcmr.reporting.suspects_sheet import MOST_CARDS, check_same_data, suspects_sheet

    try:
        config = resolve(read_config(run.config))
        split = config.data.cls(config.data.options).split("train")
    except UserError as error:
        raise DataError(
            f"cannot open the data of {run.path} for the pictures: {error}; --no-sheet does without them"
        ) from error
    if split.picture is None:
        sys.stderr.write(
            f"{config.data.name} holds features without pictures, so there is no contact sheet\n"
        )
        return None
    if len(rows) > MOST_CARDS:
        sys.stderr.write(f"the contact sheet shows the first {MOST_CARDS} only\n")
        rows = rows[:MOST_CARDS]
    check_same_data(table, rows, split.captions, split.n_images)
    sheet = suspects_sheet(table, rows, split.picture, f"Worst suspects of {run.path.absolute().name}")
    write_with(path, lambda file: sheet.save(file, format="PNG"))
    return path
