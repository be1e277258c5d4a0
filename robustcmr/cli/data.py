"""``robustcmr data``: look at data before using it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from robustcmr.data.base import PairsData
    from robustcmr.data.check import DataReport

PLAIN_WIDTH = 200
"""Columns of a table that goes to a file or another program."""


def check(
    folder: Annotated[Path, typer.Argument(help="Folder of precomputed features and captions.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Check it as this data set, published sizes included; guessed from the files by default."
        ),
    ] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Vocabulary JSON to check along with it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Count, measure and fingerprint a data folder; list every problem found (exit code 1 if any)."""
    from robustcmr.cli.output import print_json
    from robustcmr.config.resolve import resolve_component
    from robustcmr.data.check import check_data, open_folder

    opened: PairsData
    if data is None:
        opened = open_folder(folder)
    else:
        component = resolve_component("data", {"name": data, "root": str(folder)})
        opened = component.cls(component.options)
    report = check_data(opened, vocabulary=vocabulary)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(1)


def _print_report(report: DataReport) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "split",
        "images",
        "captions",
        "regions",
        "width",
        "type",
        "file",
        "range",
        "mean",
        "words",
        "fingerprint",
    )
    for split in report.splits:
        features, captions = split.features, split.captions
        row = [split.name] + ["?"] * 10
        if features is not None:
            row[1], row[3], row[4] = (f"{number:,}" for number in features.shape)
            row[5] = features.dtype or "in memory"
            row[6] = "-" if features.file_bytes is None else f"{features.file_bytes / 2**20:,.1f} MiB"
            if features.minimum is not None and features.maximum is not None and features.mean is not None:
                row[7] = f"{features.minimum:.3g} … {features.maximum:.3g}"
                row[8] = f"{features.mean:.3g}"
        if captions is not None:
            row[2] = f"{captions.count:,}"
            row[9] = f"{captions.shortest}–{captions.longest}, mean {captions.mean_length:.1f}"
            if captions.known_share is not None:
                row[9] += f", {captions.known_share:.1%} known"
        row[10] = split.fingerprint or "?"
        table.add_row(*map(escape, row))
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    console.print(table)
    for split in report.splits:
        if split.captions is not None and split.captions.duplicates:
            repeated = f"{split.captions.duplicates:,} captions repeat an earlier one"
            console.print(f"{split.name}: {repeated}", highlight=False, markup=False, soft_wrap=True)
    for kind, sentences in (("warning", report.warnings), ("PROBLEM", report.problems)):
        for sentence in sentences:
            console.print(f"{kind}: {sentence}", highlight=False, markup=False, soft_wrap=True)
    if report.ok:
        console.print("no problem found")
