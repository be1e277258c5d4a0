"""``robustcmr data``: look at data before using it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustcmr.cli.options import AsJson, overrides, say, table_console

if TYPE_CHECKING:
    from robustcmr.data.base import DataSet
    from robustcmr.data.check import DataReport, LabelledReport


def check(
    folder: Annotated[
        Path, typer.Argument(help="Folder of precomputed features and captions, or labelled features.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set to check it as, published sizes included; guessed from the files by default."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, overrides("Set an option of the data set, such as data.image=X.")
    ] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Vocabulary JSON to check as well.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count, measure and fingerprint a data folder; list every problem found (exit code 1 if any).

    Examples:
      robustcmr data check f30k_precomp
      robustcmr data check coco_precomp --data coco --vocabulary coco_vocab.json --json
    """
    from robustcmr.cli.output import print_json
    from robustcmr.data.base import LabelledData
    from robustcmr.data.check import check_data, check_labelled
    from robustcmr.errors import ConfigError

    opened: Any = _opened(folder, data, settings or [])
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
    """Open the folder as the named data set, or as its files suggest."""
    from robustcmr.config.resolve import apply_overrides, resolve_component
    from robustcmr.data.check import is_labelled, open_folder
    from robustcmr.errors import ConfigError

    if data is None and is_labelled(folder):
        data = "labelled"
    if data is None:
        if overrides:
            raise ConfigError(
                "--set needs the name of the data set whose options it sets, such as --data precomp"
            )
        return open_folder(folder)
    tree = apply_overrides({"data": {"name": data, "root": str(folder)}}, overrides)
    if len(tree) > 1:
        raise ConfigError(
            f"--set {list(tree)[1]} is no option of the data set, expected such as --set data.image=X"
        )
    component = resolve_component("data", tree["data"])
    made: DataSet = component.cls(component.options)
    return made


def _print_report(report: DataReport | LabelledReport) -> None:
    from robustcmr.data.check import LabelledReport
    from robustcmr.reporting.data_tables import class_table, labelled_table, pairs_table

    console = table_console()
    lines = []
    if isinstance(report, LabelledReport):
        console.print(labelled_table(report))
        if any(split.class_counts is not None for split in report.splits):
            console.print(class_table(report))
    else:
        console.print(pairs_table(report))
        for split in report.splits:
            if split.pairing is not None:
                lines.append(f"{split.name}: captions are paired {split.pairing}")
            if split.captions is not None and split.captions.duplicates:
                lines.append(f"{split.name}: {split.captions.duplicates:,} captions repeat an earlier one")
    lines += [f"warning: {sentence}" for sentence in report.warnings]
    lines += [f"PROBLEM: {sentence}" for sentence in report.problems]
    if report.ok:
        lines.append("no problem found")
    say(*lines)
