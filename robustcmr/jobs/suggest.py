"""Seek better partners for the pairs that an audit suspects, and write them beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from robustcmr.audit.columns import read_column
from robustcmr.audit.decide import BOILERPLATE, MISMATCHED, UNSURE
from robustcmr.audit.gather import gather
from robustcmr.audit.judging import fold_of
from robustcmr.audit.partners import Pool
from robustcmr.audit.parts import plan_tasks
from robustcmr.audit.pooling import MOST, choose_pool
from robustcmr.audit.rows import ReadPairs
from robustcmr.audit.saved import read_calibration
from robustcmr.audit.suggest import Suggestions, suggest
from robustcmr.errors import ConfigError, DataError
from robustcmr.files import atomic_file, reason
from robustcmr.jobs import audit_stages as stages
from robustcmr.jobs.audit_progress import AuditProgress
from robustcmr.jobs.audit_settings import LOCK
from robustcmr.jobs.audit_source import reopened
from robustcmr.jobs.made_problems import PairsWithProblems
from robustcmr.locks import sole_user
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source
from robustcmr.sources.vectors import Vectors, check_widths, open_vectors, own_vectors
from robustcmr.terminal import Console
from robustcmr.training.devices import check_device
from robustcmr.types import IntArray

logger = logging.getLogger("robustcmr")

LEAST = 0.5
"""Probability below which nothing is suggested."""

COLUMNS = pa.schema(
    [
        ("id", pa.string()),  # of the suspected pair
        ("kind", pa.string()),  # image: a better image for its caption; caption: one for its image
        ("partner", pa.string()),  # id of a pair that has the image, or the caption
        ("suggested", pa.string()),  # name of the image, or the caption
        ("probability", pa.float32()),  # that it is right
    ]
)
"""Columns of ``suggestions.parquet``: a row a suggestion, in the order of the pairs."""

_SEEK_IMAGES = (MISMATCHED, UNSURE)  # boilerplate fits no image in particular
_SEEK_CAPTIONS = (*_SEEK_IMAGES, BOILERPLATE)


@dataclass(frozen=True)
class Suggested:
    """What was found.

    Attributes:
        path: the file written.
        images: captions that are suggested an image.
        images_of: captions that sought one.
        captions: images that are suggested a caption.
        captions_of: images that sought one.
        expected_right: mean probability of all suggestions; None without any.
        hidden: right pairs that were taken apart to tell the probabilities.
        left_out: suspected pairs that were not in the pool, as there are too many.
    """

    path: Path
    images: int
    images_of: int
    captions: int
    captions_of: int
    expected_right: float | None
    hidden: int
    left_out: int


def suggest_partners(
    audit: Path,
    console: Console,
    least: float = LEAST,
    most: int = MOST,
    device: str = "auto",
    seed: int = 0,
) -> Suggested:
    """Seek a better image for each suspected caption and a better caption for each suspected image.

    Writes ``suggestions.parquet`` in the folder of the audit, in place of an earlier one.

    Args:
        audit: folder of a finished audit, whose source and vectors are read again.
        console: for progress.
        least: probability below which nothing is suggested, in 0 .. 1.
        most: pairs that are compared, at most; the most suspected ones come first.
        device: of torch; ``auto`` for a GPU where there is one.
        seed: of the right pairs that are taken apart to tell the probabilities.

    Raises:
        UserError: there is no finished audit, its source or vectors are gone or have changed, or there are
            too few pairs to tell probabilities.
    """
    check_device(device, "fp32")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not 0 <= least <= 1:
        raise ConfigError(f"the least probability is {least}; expected 0 to 1, such as 0.5")
    folder = AuditFolder(audit)
    folder.require()
    source = reopened(folder)
    images, texts, read = _vectors(folder, source)
    calibration = read_calibration(folder.calibration)
    if images.width != calibration.width:
        raise DataError(
            f"the vectors have {images.width} numbers, and those of the audit {calibration.width}"
        )
    with (
        sole_user(folder.path / LOCK, f"the audit folder {folder.path}"),
        AuditProgress(console) as progress,
        _joined(folder, source, images, texts, read, progress) as joined,
    ):
        table = _table(folder, joined)
        rows, units, left_out = _pooled(table, joined, images, texts, most, seed)
        _, firsts, image = np.unique(table.image_codes[rows], return_index=True, return_inverse=True)
        codes = table.image_codes[rows][firsts]
        pool = Pool(
            units[0][firsts],
            units[1],
            image.astype(np.int64),
            table.mismatched[rows],
            fold_of(codes.view(np.int64), calibration.folds),
        )
        seek_images, seek_captions = (np.flatnonzero(side[rows]) for side in table.seek)
        with progress.stage("seeking partners", None):
            found = suggest(pool, seek_images, seek_captions, calibration, seed, device)
        result = _suggested(table, rows, pool, found, least)
    with atomic_file(folder.suggestions) as file:
        pq.write_table(result, file, compression="zstd")
    kinds = result["kind"].to_numpy(zero_copy_only=False)
    return Suggested(
        folder.suggestions,
        int((kinds == "image").sum()),
        len(seek_images),
        int((kinds == "caption").sum()),
        len(seek_captions),
        float(np.mean(result["probability"].to_numpy())) if len(result) else None,
        found.hidden,
        left_out,
    )


def _vectors(folder: AuditFolder, source: Source) -> tuple[Vectors, Vectors, ReadPairs]:
    """Open the vectors of an audit again, and what reads its pairs."""
    about = folder.read_about()
    settings: dict[str, Any] = dict(about["settings"])
    read: ReadPairs = pairs
    if settings.get("made_by") is not None:
        made = folder.path / "vectors"
        settings |= {"image_vectors": str(made), "text_vectors": str(made)}
        read = PairsWithProblems(made)
    sides: list[Vectors] = []
    for side in ("image", "text"):
        given = settings.get(f"{side}_vectors")
        found = own_vectors(source, side) if given is None else open_vectors(given, side, source)
        if found is None or found.fingerprint() != about.get("vectors", {}).get(side):
            raise DataError(
                f"the {side} vectors are gone or have changed since the audit {folder.path}; audit again"
            )
        sides.append(found)
    check_widths(*sides)
    return sides[0], sides[1], read


@dataclass(frozen=True)
class _Joined:
    """The pairs of an audit as pieces, with the positions of their vectors."""

    work: stages.Work
    pieces: tuple[Any, ...]


@contextmanager
def _joined(
    folder: AuditFolder,
    source: Source,
    images: Vectors,
    texts: Vectors,
    read: ReadPairs,
    progress: AuditProgress,
) -> Iterator[_Joined]:
    """Read the pairs and join their vectors, as the audit did; what this takes is removed afterwards."""
    settings: dict[str, Any] = dict(folder.read_about()["settings"])
    work = stages.Work(folder.path / "suggesting")
    rmtree(work.path, ignore_errors=True)  # of a call that was killed
    where, memory = settings.get("where"), 2**30
    try:
        tasks = plan_tasks(source.shards)
        with progress.stage("reading", None):
            ingest = stages.Ingest(source, work, read, where)
            for task in tasks:
                ingest(task, progress.pairs)
        pieces = stages.finished_pieces(work, tasks)
        every = None if where is None else lambda: (b for s in source.shards for b in read(source, s))
        with progress.stage("joining vectors", None):
            for vectors, side in ((images, "image"), (texts, "text")):
                stages.join_vectors(work, pieces, vectors, side, memory, every)
        yield _Joined(work, pieces)
    finally:
        rmtree(work.path, ignore_errors=True)


@dataclass(frozen=True)
class _Table:
    """What an audit says of all its pairs, (N,) each; ``seek``: whose caption and whose image seek."""

    path: Path
    image_codes: npt.NDArray[np.uint64]
    mismatched: npt.NDArray[np.float64]
    sound: npt.NDArray[np.bool_]
    seek: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]

    def texts(self, rows: IntArray, names: tuple[str, ...]) -> list[npt.NDArray[np.object_]]:
        """Return columns of ascending rows."""
        parts = []
        with pq.ParquetFile(self.path) as file:
            start = 0
            for batch in file.iter_batches(100_000, columns=list(names)):
                first, last = np.searchsorted(rows, [start, start + batch.num_rows])
                parts.append(batch.take(pa.array(rows[first:last] - start)))
                start += batch.num_rows
        table = pa.Table.from_batches(parts)
        return [table[name].to_numpy() for name in names]


def _table(folder: AuditFolder, joined: _Joined) -> _Table:
    try:
        table = pq.read_table(folder.pairs, columns=["p_mismatch", "decision", "reason", "row"])
    except (OSError, pa.ArrowException) as error:
        why = reason(error) if isinstance(error, OSError) else str(error).splitlines()[0]
        raise DataError(f"cannot read {folder.pairs}: {why}; audit the pairs again") from error
    files = joined.work.row_files(joined.pieces)
    parts = [pq.read_table(path, columns=["image_code", "row"]) for path in files]
    there = pa.concat_tables(parts)
    if not there["row"].equals(table["row"]):
        raise DataError(f"{folder.pairs} is not of the pairs of the source; audit the pairs again")
    decision, why_ = (table[name].cast(pa.string()) for name in ("decision", "reason"))
    suspected = pc.is_in(decision, pa.array(["drop", "review"]))
    seek = tuple(
        pc.and_(suspected, pc.is_in(why_, pa.array(list(reasons)))).to_numpy()
        for reasons in (_SEEK_IMAGES, _SEEK_CAPTIONS)
    )
    mismatched = table["p_mismatch"].to_numpy().astype(np.float64)
    kept = pc.equal(decision, "keep").to_numpy()
    # pairs that are there already, or near so, neither seek nor speak for their image a second time
    sound = ~np.isnan(mismatched) & (kept | seek[1])
    return _Table(folder.pairs, there["image_code"].to_numpy(), mismatched, sound, (seek[0], seek[1]))


def _pooled(
    table: _Table, joined: _Joined, images: Vectors, texts: Vectors, most: int, seed: int
) -> tuple[IntArray, list[Any], int]:
    """Return the pairs of the pool, their vectors of both sides, and how many suspected ones it lacks."""
    rows = choose_pool(table.image_codes, table.sound, table.mismatched, table.seek[1], most, seed)
    left_out = int((table.seek[1] & table.sound).sum() - table.seek[1][rows].sum())
    units, good = [], np.ones(len(rows), bool)
    for vectors, side in ((images, "image"), (texts, "text")):
        at = read_column(joined.work.joins, f"{side}_at", slice(None))[rows]
        unit, bad = gather(vectors.take, at)
        units.append(unit)
        good &= bad == 0
    return rows[good], [unit[good] for unit in units], left_out


def _suggested(table: _Table, rows: IntArray, pool: Pool, found: Suggestions, least: float) -> pa.Table:
    """Return the suggestions that are likely enough, in the order of the pairs."""
    ids, images, captions = table.texts(rows, ("id", "image", "caption"))
    shown = np.lexsort((pool.mismatched, pool.image))  # the pair that speaks for each image
    first = shown[np.searchsorted(pool.image[shown], np.arange(len(pool.images)))]
    parts = []
    for kind, asked, partner, chance, names in (
        ("image", found.captions, first[found.image], found.image_probability, images),
        ("caption", found.pairs, found.partner, found.caption_probability, captions),
    ):
        given = (chance >= least) & (chance > 0)
        asked, partner, chance = asked[given], partner[given], chance[given]
        parts.append((asked, np.full(len(asked), kind), ids[asked], ids[partner], names[partner], chance))
    asked, kinds, *columns, chance = (np.concatenate(side) for side in zip(*parts, strict=True))
    order = np.lexsort((kinds, asked))
    own, partner, suggested = (side[order] for side in columns)
    arrays = (own, kinds[order], partner, suggested, chance[order])
    return pa.table(
        [pa.array(values.tolist(), field.type) for values, field in zip(arrays, COLUMNS, strict=True)],
        schema=COLUMNS,
    )
