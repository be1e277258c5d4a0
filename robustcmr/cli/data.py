"""``robustcmr data``: look at data before using it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustcmr.cli import complete
from robustcmr.cli.options import AsJson, number, overrides, say, table_console
from robustcmr.cli.source_options import IdColumn, ImageColumn, SourceFormat, TextColumn, Where

if TYPE_CHECKING:
    from robustcmr.data.base import DataSet
    from robustcmr.data.check import DataReport, LabelledReport


def check(
    source: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders or patterns of pairs in any format that 'robustcmr audit' reads; or one "
            "folder of precomputed features and captions, or of labelled features."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set to check a folder of features as, published sizes included; guessed from the "
            "files by default.",
            autocompletion=complete.names("data"),
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, overrides("Set an option of the data set, such as data.image=X.")
    ] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Vocabulary JSON to check as well.")] = None,
    image: ImageColumn = None,
    text: TextColumn = None,
    id: IdColumn = None,
    where: Where = None,
    format: SourceFormat = None,
    samples: Annotated[int, typer.Option(min=0, max=1000, help="Pairs to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Count, measure and fingerprint data; list every problem found (exit code 1 if any).

    Examples:
      robustcmr data check f30k_precomp
      robustcmr data check coco_precomp --data coco --vocabulary coco_vocab.json --json
      robustcmr data check web/*.parquet --text caption --where "width > 200"
    """
    from robustcmr.errors import ConfigError

    named = {"--image": image, "--text": text, "--id": id, "--where": where, "--format": format}
    own = {"--data": data, "--set": settings, "--vocabulary": vocabulary}
    given = [name for name, value in named.items() if value is not None]
    features = [name for name, value in own.items() if value]
    if given and features:
        raise ConfigError(
            f"{features[0]} is for a folder of features and {given[0]} for other pairs; give one of them"
        )
    if features or (not given and len(source) == 1 and _holds_features(Path(source[0]).expanduser())):
        if len(source) > 1:
            raise ConfigError(f"{features[0]} goes with one folder and {len(source)} were given; give one")
        _check_features(Path(source[0]), data, settings or [], vocabulary, as_json)
    else:
        _check_source(source, where, samples, as_json, image=image, text=text, id=id, format=format)


def _holds_features(path: Path) -> bool:
    """Whether a path is of a layout that runs train on."""
    from robustcmr.data.check import is_labelled, open_folder
    from robustcmr.data.folder import FEATURES_SUFFIX
    from robustcmr.errors import DataError

    try:
        if is_labelled(path):
            return True
        if not path.is_dir():
            return False
        open_folder(path)
    except DataError:  # of no known layout, or of two
        return any(path.glob(f"*{FEATURES_SUFFIX}"))
    return True


def _check_source(paths: list[str], where: str | None, samples: int, as_json: bool, **named: Any) -> None:
    from robustcmr.cli.output import print_json
    from robustcmr.jobs.audit_packages import require_packages
    from robustcmr.reporting.source_tables import columns_table, report_lines, samples_table

    require_packages()
    from robustcmr.sources.check import check_source
    from robustcmr.sources.guess import open_source

    report = check_source(open_source(paths, **named), where, samples)
    if as_json:
        print_json(report.to_dict())
    else:
        console = table_console()
        console.print(columns_table(report))
        if report.samples:
            console.print(samples_table(report))
        say(*report_lines(report))
    if not report.ok:
        raise typer.Exit(1)


def _check_features(
    folder: Path, data: str | None, settings: list[str], vocabulary: Path | None, as_json: bool
) -> None:
    from robustcmr.cli.output import print_json
    from robustcmr.data.base import LabelledData
    from robustcmr.data.check import check_data, check_labelled
    from robustcmr.errors import ConfigError

    opened: Any = _opened(folder, data, settings)
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


def export(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Data set with pictures.", autocompletion=complete.names("data")),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to write, new or empty.")],
    split: Annotated[str, typer.Option(help="Split to write.")] = "train",
    noise: Annotated[
        float,
        typer.Option(
            metavar="FLOAT",
            parser=number("--noise"),
            help="Share of the captions to give to another picture, in [0, 1).",
        ),
    ] = 0.0,
    noise_seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    settings: Annotated[
        list[str] | None, overrides("Set an option of the data set, such as data.seed=1.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a split as a folder of pictures with captions.csv, to try 'robustcmr audit' on.

    Which pairs are wrong is written beside the folder, as FOLDER.truth.csv. FOLDER.captions.txt and, where
    the data has region features, FOLDER.regions.npy are what 'robustcmr embed' reads.

    Examples:
      robustcmr data export scenes shop --noise 0.3
      robustcmr data export scenes shop --split test --set data.n_test=200
    """
    from robustcmr.cli.output import print_json
    from robustcmr.config.resolve import apply_overrides, resolve_component
    from robustcmr.data.base import PairsData
    from robustcmr.data.export import export_pictures
    from robustcmr.errors import ConfigError, DataError

    tree = apply_overrides({"data": {"name": data}}, settings or [])
    if len(tree) > 1:
        raise ConfigError(
            f"--set {list(tree)[1]} is no option of the data set, expected such as --set data.seed=1"
        )
    component = resolve_component("data", tree["data"])
    opened = component.cls(component.options)
    if not isinstance(opened, PairsData):
        raise DataError(f"{data} holds labelled data and no captions to export; name such as scenes")
    done = export_pictures(opened.split(split), folder, noise, noise_seed)
    if as_json:
        print_json(
            {key: str(value) if isinstance(value, Path) else value for key, value in asdict(done).items()}
        )
        return
    wrong = f", of which {done.wrong:,} are wrong" if done.wrong else ""
    say(f"wrote {done.folder}: {done.images:,} pictures and {done.pairs:,} captions{wrong}")
    say(f"wrote {done.truth}: which pairs are right")
    say(f"wrote {done.captions}: a caption a line, in the order of captions.csv")
    if done.regions is not None:
        say(f"wrote {done.regions}: region features of the pictures, in the order of their names")
