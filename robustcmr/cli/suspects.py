"""``robustcmr suspects``: the pairs or labels that a finished run suspects, worst first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustcmr.cli.options import AsJson, Trust, note, output, say, table_console

if TYPE_CHECKING:
    from robustcmr.reporting.suspects import Suspects
    from robustcmr.runs.folder import RunFolder
    from robustcmr.types import IntArray


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
    trusted: Trust = False,
) -> None:
    """List the pairs that a run suspects, with the image or the class it suggests instead.

    If the data has pictures, a contact sheet shows them.

    Examples:
      robustcmr suspects runs/a
      robustcmr suspects runs/a --top 200 --no-sheet --json
    """
    from robustcmr.cli.output import print_json
    from robustcmr.errors import ConfigError
    from robustcmr.reporting.suspects import read_suspects
    from robustcmr.runs.folder import RunFolder

    if no_sheet and target is not None:
        raise ConfigError("--output names a contact sheet and --no-sheet leaves it out; give one of them")
    folder = RunFolder(run)
    folder.require_estimates(folder.pairs, folder.labels)
    found = read_suspects(folder)
    every = found.worst()
    rows, pairs = every[:top], len(found.table)
    if not as_json:
        if len(rows):
            table_console().print(found.drawn(rows))
        say(_summary(pairs, len(every), len(rows), found.of))
    sheet = None
    if len(rows) and not no_sheet:
        sheet = _write_sheet(folder, found, rows, folder.suspects if target is None else target, trusted)
    if as_json:
        counted = {"run": str(run), "pairs": pairs, "suspected": len(every)}
        path = None if sheet is None else str(sheet)
        print_json({**counted, "sheet": path, "suspects": found.values(rows)})
    elif sheet is not None:
        say(f"wrote {sheet}")


def _summary(pairs: int, suspected: int, shown: int, of: str) -> str:
    if suspected == 0:
        return f"none of {pairs:,} pairs is suspected"
    worst = "all of them shown" if shown == suspected else f"the worst {shown:,} shown"
    return f"{suspected:,} of {pairs:,} pairs ({suspected / pairs:.1%}) {of}, {worst}"


def _write_sheet(run: RunFolder, found: Suspects, rows: IntArray, path: Path, trusted: bool) -> Path | None:
    """Write the contact sheet; return None, with a line on stderr, if the data has no pictures."""
    from robustcmr.config.resolve import run_config
    from robustcmr.errors import DataError, UserError
    from robustcmr.files import write_with
    from robustcmr.reporting.suspects import MOST_CARDS

    try:
        config = run_config(run.config, trusted)
        split = config.data.cls(config.data.options).split("train")
    except UserError as error:
        raise DataError(
            f"cannot open the data of {run.path} for the pictures: {error}; leave them out with --no-sheet"
        ) from error
    if split.picture is None:
        note(f"{config.data.name} holds features without pictures, so there is no contact sheet")
        return None
    if len(rows) > MOST_CARDS:
        note(f"the contact sheet shows the first {MOST_CARDS} only")
    sheet = found.sheet(rows[:MOST_CARDS], split, f"Worst suspects of {run.path.absolute().name}")
    write_with(path, lambda file: sheet.save(file, format="PNG"))
    return path
