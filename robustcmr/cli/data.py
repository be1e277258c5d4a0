"""``robustcmr data``: look at data before using it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from robustcmr.data.base import DataSet
    from robustcmr.data.check import DataReport, FeatureReport
    from robustcmr.data.check_labels import LabelledReport

PLAIN_WIDTH = 200
"""Columns of a table that goes to a file or another program."""


def check(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of precomputed features and captions, or of labelled features (or a file)."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Check it as this data set, published sizes included; guessed from the files by default."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set an option of the data set, such as data.image=X."
        ),
    ] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Vocabulary JSON to check along with it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Count, measure and fingerprint a data folder; list every problem found (exit code 1 if any)."""
    from robustcmr.cli.output import print_json
    from robustcmr.data.base import LabelledData
    from robustcmr.data.check import check_data
    from robustcmr.data.check_labels import check_labelled
    from robustcmr.errors import ConfigError

    opened: Any = _opened(folder, data, overrides or [])
    report: DataReport | LabelledReport
    if isinstance(opened, LabelledData):
        if vocabulary is not None:
            raise ConfigError("--vocabulary is for captions and this is labelled data; leave it out")
        report = check_labelled(opened)
    else:
        report = check_data(opened, vocabulary=vocabulary)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(1)


def _opened(folder: Path, data: str | None, overrides: list[str]) -> DataSet:
    """The folder as the data set it is said to be, or as its files tell."""
    from robustcmr.config.resolve import apply_overrides, resolve_component
    from robustcmr.data.check import open_folder
    from robustcmr.data.check_labels import is_labelled
    from robustcmr.errors import ConfigError

    if data is None and is_labelled(folder):
        data = "labelled"
    if data is None:
        if overrides:
            raise ConfigError("--set tells options of a data set, so name the data set too, with --data NAME")
        return open_folder(folder)
    tree = apply_overrides({"data": {"name": data, "root": str(folder)}}, overrides)
    if len(tree) > 1:
        raise ConfigError(
            f"data check takes options of the data alone, such as --set data.KEY=VALUE, got {list(tree)[1]}"
        )
    component = resolve_component("data", tree["data"])
    made: DataSet = component.cls(component.options)
    return made


def _print_report(report: DataReport | LabelledReport) -> None:
    from rich.console import Console

    from robustcmr.data.check_labels import LabelledReport

    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    if isinstance(report, LabelledReport):
        _print_labelled(report, console)
    else:
        _print_pairs(report, console)
    for kind, sentences in (("warning", report.warnings), ("PROBLEM", report.problems)):
        for sentence in sentences:
            console.print(f"{kind}: {sentence}", highlight=False, markup=False, soft_wrap=True)
    if report.ok:
        console.print("no problem found")


def _print_pairs(report: DataReport, console: Console) -> None:
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
    console.print(table)
    for split in report.splits:
        if split.captions is not None and split.captions.duplicates:
            repeated = f"{split.captions.duplicates:,} captions repeat an earlier one"
            console.print(f"{split.name}: {repeated}", highlight=False, markup=False, soft_wrap=True)


def _print_labelled(report: LabelledReport, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("split", "pairs", "image vectors", "text vectors", "fingerprint")
    for split in report.splits:
        pairs = "?" if split.pairs is None else f"{split.pairs:,}"
        table.add_row(
            *map(escape, (split.name, pairs, *map(_vectors, (split.image, split.text)))),
            split.fingerprint or "?",
        )
    console.print(table)
    counted = [split for split in report.splits if split.class_counts is not None]
    table = Table("class", *(escape(split.name) for split in counted))
    for number, name in enumerate(report.class_names):
        counts = (split.class_counts or () for split in counted)
        table.add_row(escape(name), *(f"{own[number]:,}" if number < len(own) else "?" for own in counts))
    if counted:
        console.print(table)


def _vectors(found: FeatureReport | None) -> str:
    """Width, range and mean of vectors in a few words."""
    if found is None:
        return "?"
    width = f"{found.shape[2]:,} numbers"
    if found.minimum is None or found.maximum is None or found.mean is None:
        return width
    return f"{width}, {found.minimum:.3g} … {found.maximum:.3g}, mean {found.mean:.3g}"
