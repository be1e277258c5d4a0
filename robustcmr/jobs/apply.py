"""Write the pairs of a list of an audit, in the format they came in or in another one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustcmr.errors import ConfigError, DataError, RunFolderError
from robustcmr.files import new_folder, reason
from robustcmr.jobs.audit_source import reopened
from robustcmr.jobs.suggested import sure_captions
from robustcmr.locks import sole_user
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.convert import WRITERS, convert
from robustcmr.sources.records import Shard, Source, Written
from robustcmr.sources.repairs import REPAIRABLE, Repairs
from robustcmr.sources.shards import below_root

logger = logging.getLogger("robustcmr")


@dataclass(frozen=True)
class Chosen:
    """Pairs of one shard that are on a list.

    Attributes:
        shard: number of the shard.
        rows: (n,) rows of the chosen pairs, ascending; a row of several captions may come several times.
        parts: (n,) which caption of the row.
        split: rows of which some captions are on the list and others are not.
    """

    shard: int
    rows: npt.NDArray[np.int64]
    parts: npt.NDArray[np.int32]
    split: int


def apply_audit(
    audit: Path,
    to: Path,
    chosen: str = "keep",
    format: str | None = None,
    dry_run: bool = False,
    repair: float | None = None,
) -> Written:
    """Write the pairs on a list of an audit.

    In the format of the source, its files are written again with the rows that have a pair on the list.
    A row with a list of captions stays whole where any of them is on it; other formats get one row a pair.

    Args:
        audit: folder of a finished audit.
        to: folder to write to, new or empty; it appears when it is complete.
        chosen: ``keep``, ``drop`` or ``review``.
        format: to write; that of the source where None.
        dry_run: write nothing, and return what would be written.
        repair: with the pairs to keep, write those that have a better caption of at least this probability,
            with that caption; one row a pair, as in another format. None to repair nothing.

    Raises:
        UserError: there is no finished audit, its source is gone or has changed, ``to`` holds something or
            lies within the source, or a file cannot be written.
    """
    folder = AuditFolder(audit)
    folder.require()
    source = reopened(folder)
    _check_target(to, source)
    if format not in (None, source.format, *WRITERS):
        raise ConfigError(
            f"there is no format {format!r} to write; choose one of {', '.join(WRITERS)}, or leave it out "
            f"for {source.format}"
        )
    repairs: Repairs | None = None
    if repair is not None:
        format = _repairable(source, chosen, format, repair)
        repairs = sure_captions(folder, repair)
        logger.info("%s pairs get a better caption", f"{len(repairs):,}")
    found = list_of_shards(folder, source, chosen, repairs)
    if dry_run:
        if repairs is None and format in (None, source.format):
            return _written_again(source, found, None, to)
        count = sum(len(each.rows) for each in found)
        return Written((to,), count, count)
    with sole_user(to.parent / f".{to.name}.lock", f"the folder {to}"), new_folder(to) as part:
        return _write(source, found, part, to, format, repairs)


def _repairable(source: Source, chosen: str, format: str | None, repair: float) -> str:
    """Return the format in which repaired pairs are written; raise ConfigError where that makes no sense."""
    if chosen != "keep":
        raise ConfigError(
            f"--repair adds repaired pairs to those to keep, and --list is {chosen}; give --list keep"
        )
    if not 0 < repair <= 1:
        raise ConfigError(f"the probability to repair from is {repair}; expected above 0 to 1, such as 0.9")
    wanted = source.format if format is None else format
    if wanted not in REPAIRABLE:
        raise ConfigError(
            f"--repair cannot write {wanted}, which has no column for the caption that was given; give "
            f"--format, one of {', '.join(REPAIRABLE)}"
        )
    return wanted


def _write(
    source: Source,
    found: Iterator[Chosen],
    part: Path,
    to: Path,
    format: str | None,
    repairs: Repairs | None,
) -> Written:
    if format is None or (repairs is None and format == source.format):
        return _written_again(source, found, part, to)
    done = convert(source, found, part, format, repairs)
    return replace(done, files=tuple(to / path.relative_to(part) for path in done.files))


def _check_target(to: Path, source: Source) -> None:
    """Refuse a folder that holds something, or lies within the source."""
    if to.exists() and not to.is_dir():
        raise RunFolderError(f"{to} is a file; expected a folder to write to, such as clean")
    if to.is_dir() and any(to.iterdir()):
        raise RunFolderError(f"{to} is not empty; choose a new folder, such as {to}/clean")
    root, target = source.root.resolve(), to.resolve()
    if source.root.is_dir() and (target == root or root in target.parents):
        raise RunFolderError(
            f"{to} lies within the source {source.root}, which would then hold its pairs twice; choose a "
            "folder elsewhere"
        )


def list_of_shards(
    folder: AuditFolder, source: Source, chosen: str, more: Repairs | None = None
) -> Iterator[Chosen]:
    """Yield the pairs on a list, a shard at a time, in order; shards without any come too.

    Args:
        folder: of the audit.
        source: of its pairs.
        chosen: the list.
        more: ids of pairs that come too.

    Raises:
        DataError: ``pairs.parquet`` is damaged.
    """
    numbers = {below_root(source, shard).as_posix(): shard.number for shard in source.shards}
    current = 0
    held: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]]] = []
    try:
        with pq.ParquetFile(folder.pairs) as file:
            names = ["file", "row", "part", "decision", *(["id"] if more else [])]
            for batch in file.iter_batches(100_000, columns=names):
                shards = _shards_of(batch.column("file"), numbers, folder)
                row, part = batch.column("row").to_numpy(), batch.column("part").to_numpy()
                fits = np.asarray(pc.equal(batch.column("decision").cast(pa.string()), chosen))
                if more:
                    fits = fits | np.asarray(pc.is_in(batch.column("id"), pa.array(list(more), pa.string())))
                for first, last in _runs(shards):
                    while current < shards[first]:
                        yield _chosen(current, held)
                        current, held = current + 1, []
                    held.append((row[first:last], part[first:last], fits[first:last]))
    except (OSError, pa.ArrowException) as error:
        why = reason(error) if isinstance(error, OSError) else str(error).splitlines()[0]
        raise DataError(f"cannot read {folder.pairs}: {why}; audit the pairs again") from error
    while current < len(source.shards):
        yield _chosen(current, held)
        current, held = current + 1, []


def _shards_of(files: pa.Array, numbers: dict[str, int], folder: AuditFolder) -> npt.NDArray[np.int64]:
    coded = files if pa.types.is_dictionary(files.type) else files.dictionary_encode()
    known = []
    for name in coded.dictionary.to_pylist():
        if name not in numbers:
            raise DataError(
                f"{folder.pairs} names {name}, which the source does not hold; audit the pairs again"
            )
        known.append(numbers[name])
    return np.asarray(np.array(known, np.int64)[coded.indices.to_numpy()])


def _runs(values: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield where each run of equal values begins and ends."""
    ends = np.flatnonzero(values[1:] != values[:-1]) + 1
    bounds = [0, *ends.tolist(), len(values)]
    yield from ((first, last) for first, last in pairwise(bounds) if last > first)


def _chosen(
    shard: int, held: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]]]
) -> Chosen:
    if not held:
        return Chosen(shard, np.empty(0, np.int64), np.empty(0, np.int32), 0)
    row, part, fits = (np.concatenate(side) for side in zip(*held, strict=True))
    split = np.intersect1d(row[fits], row[~fits])
    return Chosen(shard, row[fits], part[fits], len(split))


def rows_of(source: Source, shard: Shard) -> int:
    """Return the number of rows of a shard, read through where the file does not state it."""
    return sum(len(batch) for batch in source.narrow(shard, 0, ())) if shard.rows is None else shard.rows


def _written_again(source: Source, found: Iterator[Chosen], part: Path | None, to: Path) -> Written:
    """Write the files of a source with the rows to keep into ``part``, to become ``to``."""
    files: list[Path] = []
    written, of, split = 0, 0, 0
    for chosen in found:
        shard = source.shards[chosen.shard]
        keep = np.zeros(rows_of(source, shard), np.bool_)
        keep[chosen.rows] = True
        written, of, split = written + int(keep.sum()), of + len(keep), split + chosen.split
        if part is None:
            files.append(to / below_root(source, shard))
        else:
            files += [to / path.relative_to(part) for path in source.write(shard, keep, part)]
    if part is not None:
        files += [to / path.relative_to(part) for path in source.finish(part)]
    if split:
        logger.warning(
            "%s rows have several captions of which only some are on the list, and stay whole; give --format "
            "to write a row a caption",
            f"{split:,}",
        )
    return Written(tuple(files), written, of)
