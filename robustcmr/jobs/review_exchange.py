"""Take a review to another program and its verdicts back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from robustcmr.audit.labels import Label, LabelFile, by_pair, read_labels
from robustcmr.errors import ConfigError, DataError, RunFolderError, UserError
from robustcmr.files import LARGEST_JSON, new_folder, parse_json, read_bytes, reason, write_text
from robustcmr.jobs.audit_source import reopened
from robustcmr.jobs.review import read_items, sampled
from robustcmr.plugins import did_you_mean
from robustcmr.review import fiftyone, label_studio, table
from robustcmr.review.exchange import Came, Sent, accepted
from robustcmr.review.items import Item
from robustcmr.review.names import reviewer_name
from robustcmr.review.pictures import MissingPictureError, Pictures
from robustcmr.review.sample import labels_file, read_sample
from robustcmr.runs.audits import AuditFolder

FORMATS = ("label-studio", "csv", "fiftyone")
SIDE = 800
"""Largest width and height of a picture that is exported, in pixels."""

logger = logging.getLogger("robustcmr")


def export_review(
    audit: Path,
    to: Path,
    format: str | None = None,
    labels: int | None = None,
    per_stratum: int | None = None,
    seed: int | None = None,
    pictures: bool = True,
) -> tuple[list[Path], int]:
    """Write the sample of an audit and its verdicts for another program.

    Args:
        audit: folder of a finished audit; the sample is drawn where there is none.
        to: file to write, or for ``fiftyone`` a folder, new or empty.
        format: ``label-studio``, ``csv`` or ``fiftyone``; told by the name of ``to`` where None.
        labels: pairs of the sample; see :func:`robustcmr.jobs.review.sampled`.
        per_stratum: likewise.
        seed: likewise.
        pictures: whether Label Studio gets the pictures themselves, or only their names.

    Returns:
        The files written, and the number of pairs.

    Raises:
        UserError: the audit is damaged, the format unknown, or the files cannot be written.
    """
    format = _format_of(to) if format is None else format
    _check_format(format)
    folder = AuditFolder(audit)
    folder.require()
    if format != "fiftyone" and to.is_dir():
        raise RunFolderError(f"{to} is a folder, expected a file such as {to / 'tasks.json'}")
    if format == "fiftyone":
        _check_folder(to)
    items = read_items(folder, sampled(folder, labels, per_stratum, seed).pairs)
    given = by_pair(read_labels(labels_file(audit)))
    wanted = format == "fiftyone" or (format == "label-studio" and pictures)
    sent = list(_sent(folder, items, given, wanted))
    if format == "csv":
        write_text(to, table.table(sent))
        return [to], len(sent)
    if format == "label-studio":
        config = to.with_suffix(".xml")
        if config == to:
            raise ConfigError(
                f"{to} is named as the labelling interface, which is written too; name it .json"
            )
        write_text(to, label_studio.tasks(sent))
        write_text(config, label_studio.CONFIG)
        return [to, config], len(sent)
    return _write_fiftyone(to, [one for one in sent if one.picture is not None], len(sent))


def import_review(
    audit: Path, source: Path, format: str | None = None, by: str | None = None
) -> tuple[int, int]:
    """Add verdicts that were given in another program.

    All of them are added, or none. Those that are known already, or that their reviewer has since replaced,
    are left out.

    Args:
        audit: folder of a finished audit with a sample.
        source: file, or folder of ``fiftyone``.
        format: ``label-studio``, ``csv`` or ``fiftyone``; told by the file where None.
        by: reviewer of verdicts that name none.

    Returns:
        The number of verdicts that were added, and of all in the file.

    Raises:
        UserError: the file or a verdict in it does not fit; nothing was added.
    """
    folder = AuditFolder(audit)
    folder.require()
    known = read_sample(audit)
    if known is None:
        raise DataError(
            f"{audit} has no sample yet; export one first, with 'robustcmr review export', or begin a review"
        )
    chosen = _format_of(source) if format is None else format
    _check_format(chosen)
    name = None if by is None else reviewer_name(by)
    came = _read(source, chosen)
    file = LabelFile(labels_file(audit))
    added = file.append(accepted(came, known.pairs, file.read(), name, source))
    return len(added), len(came)


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise ConfigError(
            f"there is no format {format!r}{did_you_mean(format, FORMATS)}; choose of {', '.join(FORMATS)}"
        )


def _format_of(source: Path) -> str:
    if source.is_dir() or source.name == "labels.json":
        return "fiftyone"
    kinds = {".csv": "csv", ".json": "label-studio"}
    if source.suffix.lower() not in kinds:
        raise ConfigError(
            f"the format of {source} is not known by its name; say it with such as --format csv"
        )
    return kinds[source.suffix.lower()]


def _read(source: Path, format: str) -> list[Came]:
    path = source / "labels.json" if format == "fiftyone" and source.is_dir() else source
    readers: dict[str, Callable[[str], Iterator[Came]]] = {
        "csv": table.read_table,
        "label-studio": lambda text: label_studio.read_tasks(parse_json(text)),
        "fiftyone": lambda text: fiftyone.read_labels_json(parse_json(text)),
    }
    try:
        return list(readers[format](read_bytes(path, LARGEST_JSON).decode("utf-8-sig")))
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    except ValueError as error:
        raise DataError(f"cannot read {path} as {format}: {error}; nothing was added") from error


def _sent(
    folder: AuditFolder, items: Sequence[Item], given: dict[str, list[Label]], pictures: bool
) -> Iterator[Sent]:
    places = [item.place for item in items if item.place is not None]
    read = Pictures(reopened(folder), places, SIDE) if pictures and places else None
    missing = 0
    for item in items:
        picture = None
        if read is not None and item.place is not None:
            try:
                picture = read.get(item.place)
            except MissingPictureError:
                missing += 1
        yield Sent(item, given.get(item.id, ()), picture)
    if missing:
        logger.warning("%s pictures cannot be read from the source", f"{missing:,}")


def _check_folder(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RunFolderError(
            f"{to} is there and not an empty folder; choose a new one, such as {to}-fiftyone"
        )


def _write_fiftyone(to: Path, sent: Sequence[Sent], of: int) -> tuple[list[Path], int]:
    if not sent:
        raise UserError(
            "FiftyOne needs picture files and this audit's source has none; export as csv instead"
        )
    if len(sent) < of:
        logger.warning("%s pairs without a picture are left out", f"{of - len(sent):,}")
    with new_folder(to) as part:
        (part / "data").mkdir(parents=True)
        for one in sent:
            (part / "data" / f"{one.item.key}.jpg").write_bytes(one.picture or b"")
        write_text(part / "labels.json", fiftyone.labels_json(sent))
    return [to / "labels.json"], len(sent)
