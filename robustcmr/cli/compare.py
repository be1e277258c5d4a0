"""``robustcmr compare``: finished runs side by side, over seeds and noise ratios."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustcmr.cli.options import Against, Format, Mixed, note, output, write_out

if TYPE_CHECKING:
    from robustcmr.reporting.compared import Comparison
    from robustcmr.runs.read import FoundRuns

NARROW = 120
"""Columns below which a table is split in two."""

WIDE = 170
"""Columns needed to show every measure, not just the headline."""

FORMATS = ("table", "csv", "markdown", "latex", "json")


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, folders of them, or sweep folders.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to compare.")] = "test",
    mixed: Mixed = False,
    against: Against = None,
    published: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Add the literature's figures of this data set, or of all."),
    ] = None,
    form: Format = "table",
    target: Annotated[Path | None, output("File to write; stdout by default.")] = None,
) -> None:
    """Compare methods: mean and deviation over seeds, rank, robustness to noise, and significance.

    Examples:
      robustcmr compare runs/a runs/b
      robustcmr compare runs --against l2rm --format markdown -o table.md
      robustcmr compare --published f30k
    """
    from robustcmr.errors import ComparisonError
    from robustcmr.reporting.compared import Comparison
    from robustcmr.reporting.comparison import compare as compare_runs, with_published
    from robustcmr.reporting.published import published_rows
    from robustcmr.runs.read import find_runs
    from robustcmr.sweeps.planned import planned_runs

    check_format(form)
    theirs = [] if published is None else published_rows(None if published == "all" else published)
    if not runs and published is None:
        raise ComparisonError("no run folder was given; name some, or add --published DATA")
    comparison = Comparison(split)
    if runs:
        found = find_runs(runs)
        tell_left_out(found)
        if not found.finished and not published:
            raise ComparisonError(
                f"there is no finished run in {', '.join(map(str, runs))}; train some first"
            )
        if found.finished:
            planned, notes = planned_runs(runs, found)
            comparison = compare_runs(found.finished, split, mixed, against, planned=planned, notes=notes)
    if theirs:
        comparison = with_published(comparison, theirs)
    print_comparison(comparison, form, target)


def check_format(form: str) -> None:
    """Refuse an unknown format before reading anything."""
    from robustcmr.errors import ComparisonError

    if form not in FORMATS:
        raise ComparisonError(f"--format is '{form}', expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")


def print_comparison(comparison: Comparison, form: str, target: Path | None) -> None:
    """Print a comparison in one of ``FORMATS`` on stdout, or write it to a file."""
    from robustcmr.reporting.comparison_files import to_csv, to_json
    from robustcmr.reporting.comparison_tables import comparison_table, to_latex, to_markdown
    from robustcmr.reporting.tables import render
    from robustcmr.terminal import Console

    if form == "table" and target is None:
        console = Console()
        table = comparison_table(comparison, console.width >= WIDE, console.width < NARROW)
        console.print(table)
        return
    if form == "table":
        text = render(comparison_table(comparison, all_measures=True), 4 * WIDE)
    else:
        writers = {"csv": to_csv, "json": to_json, "latex": to_latex, "markdown": to_markdown}
        text = writers[form](comparison)
    write_out(text, target)


def tell_left_out(found: FoundRuns) -> None:
    """List on stderr the runs that are left out."""
    for path in found.unfinished:
        note(f"left out, not finished: {path}")
    for sentence in found.damaged.values():
        note(f"left out: {sentence}")
