"""Stages of an audit. Each leaves files that the next one reads, and does nothing that is already done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit import joins
from robustcmr.audit.columns import has_columns, read_column
from robustcmr.audit.gather import gather
from robustcmr.audit.groups import single_log_odds, write_log_bayes, write_terms
from robustcmr.audit.near_items import near_file, write_near_items
from robustcmr.audit.near_pairs import NEAR, write_near_pairs
from robustcmr.audit.parts import PIECE, Piece, Task, all_pieces
from robustcmr.audit.picture_hashes import read_hashes
from robustcmr.audit.positions import write_positions
from robustcmr.audit.rows import ReadPairs, write_rows
from robustcmr.audit.sampling import Smallest, seeded
from robustcmr.audit.scores import score_piece, usable
from robustcmr.errors import DataError
from robustcmr.files import read_json, write_json
from robustcmr.jobs.audit_mathematics import Mathematics
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.clip_layout import MADE
from robustcmr.sources.records import Source
from robustcmr.sources.vector_keys import ParquetLabels
from robustcmr.types import IntArray

if TYPE_CHECKING:
    from robustcmr.sources.vectors import Vectors

Progress = Callable[[int], None]
SIDES = ("image", "text")


@dataclass(frozen=True)
class Work:
    """The folder of unfinished work.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def rows(self) -> Path:
        """Pieces of pairs."""
        return self.path / "rows"

    @property
    def joins(self) -> Path:
        """Columns of all pairs."""
        return self.path / "joins"

    @property
    def scores(self) -> Path:
        """Pieces of scores."""
        return self.path / "scores"

    @property
    def terms(self) -> Path:
        """Pieces of the terms of repeated captions."""
        return self.path / "terms"

    @property
    def repeats(self) -> Path:
        """What repeated captions say of all pairs."""
        return self.path / "repeats.json"

    @property
    def calibration(self) -> Path:
        """What the audit judges by."""
        return self.path / "calibration.npz"

    def keys(self, side: str) -> Path:
        """How many keys of the vectors of a side come more than once."""
        return self.joins / f"{side}_keys.json"

    def row_files(self, pieces: tuple[Piece, ...]) -> list[Path]:
        """Return the files of pieces of pairs."""
        return [self.rows / f"{piece.name}.parquet" for piece in pieces]


@dataclass(frozen=True)
class Ingest:
    """Reads the pairs of a task into pieces; may run in another process."""

    source: Source
    work: Work
    read: ReadPairs
    where: str | None
    piece: int = PIECE

    def __call__(self, task: Task, progress: Progress) -> None:
        """Read one task."""
        write_rows(
            self.source, task, self.work.rows, self.read, self.where, piece=self.piece, progress=progress
        )


@dataclass(frozen=True)
class Scoring:
    """Scores pieces; may run in another process."""

    work: Work
    images: Vectors
    texts: Vectors
    mathematics: Mathematics
    device: str
    _held: list[Any] = field(default_factory=list, repr=False, compare=False)

    def __call__(self, piece: Piece, progress: Progress) -> None:
        """Score one piece, unless it is done."""
        to = self.work.scores / f"{piece.name}.parquet"
        if not to.exists():
            calibration = self._calibration()
            score_piece(
                self.work.rows / f"{piece.name}.parquet",
                *(self.work.joins, piece, self.images.take, self.texts.take, self.images.width),
                lambda images, texts, codes: self.mathematics.score(
                    images, texts, codes, calibration, self.device
                ),
                to,
            )
        progress(piece.pairs)

    def _calibration(self) -> Any:
        if not self._held:  # once a process
            self._held.append(self.mathematics.read(self.work.calibration))
        return self._held[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_held": []}


def join_facts(work: Work, pieces: tuple[Piece, ...], memory: int) -> None:
    """Write what pairs have in common."""
    if not has_columns(work.joins, joins.FACTS):
        joins.write_facts(work.row_files(pieces), work.joins, pieces[-1].rows.stop, memory)


def join_vectors(
    work: Work,
    pieces: tuple[Piece, ...],
    vectors: Vectors,
    side: str,
    memory: int,
    every: Callable[[], Iterator[pa.RecordBatch]] | None,
) -> None:
    """Write which vectors belong to the pairs; ``every`` reads all pairs, where a filter left some out."""
    name = f"{side}_at"
    if has_columns(work.joins, [name]) and work.keys(side).exists():
        return
    counted = every is not None and vectors.by in ("position", "image position")
    _, repeated = write_positions(
        vectors,
        name,
        work.row_files(pieces),
        work.joins,
        pieces[-1].rows.stop,
        memory,
        every() if counted and every is not None else None,
    )
    write_json(work.keys(side), repeated)


def said_of_keys(work: Work) -> list[str]:
    """Return what is to be said of vectors whose key comes several times, a sentence each."""
    counts = {side: read_json(work.keys(side), int) for side in SIDES}
    return [
        f"{count:,} key{'s' * (count != 1)} of the {side} vectors come more than once; the first counts"
        for side, count in counts.items()
        if count
    ]


def join_near(
    work: Work,
    pieces: tuple[Piece, ...],
    images: Vectors,
    texts: Vectors,
    memory: int,
    progress: Progress,
) -> None:
    """Write which pictures, and then which pairs, are near an earlier one."""
    rows = work.row_files(pieces)
    if not (work.joins / near_file("image")).exists():
        hashes = None
        if isinstance(images.labels, ParquetLabels) and (Path(images.name) / MADE).is_file():
            hashes = read_hashes(images.labels.files, images.count)
        write_near_items("image", images.take, rows, work.joins, memory, progress, hashes)
    if not has_columns(work.joins, [NEAR]):
        write_near_pairs(texts.take, pieces, rows, work.joins, memory, progress)


def draw_sample(
    work: Work, pieces: tuple[Piece, ...], size: int, seed: int, progress: Progress
) -> tuple[IntArray, IntArray, IntArray]:
    """Draw pairs that have two vectors, all of a picture together.

    Returns:
        Their numbers, ascending, and the codes of their pictures and captions, (n,) each.
    """
    smallest = Smallest(size)
    for piece, path in zip(pieces, work.row_files(pieces), strict=True):
        table = pq.read_table(path, columns=["image_code", "problem"])
        good = usable(table, work.joins, piece)
        for side in SIDES:
            good &= read_column(work.joins, f"{side}_at", piece.rows) >= 0
        hashes = seeded(table["image_code"].to_numpy(), seed)
        smallest.add(hashes[good], np.flatnonzero(good) + piece.start)
        progress(piece.pairs)
    numbers = smallest.numbers()
    codes: list[tuple[IntArray, IntArray]] = []
    for piece, path in zip(pieces, work.row_files(pieces), strict=True):
        first, last = np.searchsorted(numbers, [piece.start, piece.start + piece.pairs])
        if last > first:
            table = pq.read_table(path, columns=["image_code", "plain_code"])
            here = numbers[first:last] - piece.start
            images, captions = (table[name].to_numpy().view(np.int64)[here] for name in table.column_names)
            codes.append((images, captions))
    if not codes:
        raise DataError(
            "no pair has both a picture's and a caption's vector; expected vectors of these pairs, joined by "
            "id, picture, caption or order"
        )
    images, captions = (np.concatenate(side) for side in zip(*codes, strict=True))
    return numbers, images, captions


def check_strictly(work: Work, pieces: tuple[Piece, ...]) -> None:
    """Raise DataError if a pair has a problem that is known before its vectors are read."""
    bad, first = 0, ""
    for piece, path in zip(pieces, work.row_files(pieces), strict=True):
        table = pq.read_table(path, columns=["id", "problem"])
        at = [read_column(work.joins, f"{side}_at", piece.rows) for side in SIDES]
        good = usable(table, work.joins, piece) & (at[0] >= 0) & (at[1] >= 0)
        if not bad and not good.all():
            row = int(np.argmin(good))
            problem = table["problem"][row].as_py() or (
                "it has no vector"
                if at[0][row] < 0 or at[1][row] < 0
                else "its id is that of an earlier pair"
            )
            first = f"{table['id'][row].as_py()}: {problem}"
        bad += int((~good).sum())
    if bad:
        raise DataError(
            f"{bad:,} of {pieces[-1].rows.stop:,} pairs cannot be used, such as {first}; mend them, or leave "
            "--strict out to set them aside"
        )


def take_calibration(
    work: Work, given: str, width: int, model: Mapping[str, Any] | None, mathematics: Mathematics
) -> None:
    """Take over the calibration of an earlier audit, by its folder or its file.

    Args:
        work: of this audit.
        given: folder of a finished audit, or its ``calibration.npz``.
        width: numbers of a vector.
        model: identity of the model that made the vectors; None where they were given.
        mathematics: reads and saves calibrations.

    Raises:
        DataError: there is none, it is damaged, or it was fitted to vectors of another model or width.
    """
    path = Path(given)
    about = AuditFolder(path if path.is_dir() else path.parent)
    if about.holds_audit and model is not None:
        settings: Any = about.read_about()["settings"]
        other = settings.get("model")
        if other is not None and {**other, "name": None} != {**model, "name": None}:
            raise DataError(
                f"the calibration {path} was fitted to vectors of {other.get('name')}, and these are of "
                f"{model.get('name')}; make vectors with the same model, or leave --calibration out"
            )
    if path.is_dir():
        path = path / work.calibration.name
    if not path.is_file():
        raise DataError(
            f"there is no calibration {path}; expected the folder of a finished audit, such as audits/web"
        )
    calibration = mathematics.read(path)
    if calibration.width != width:
        raise DataError(
            f"the calibration {path} was fitted to vectors of {calibration.width} numbers, and these have "
            f"{width}; give vectors of the same model, or leave --calibration out"
        )
    mathematics.save(calibration, work.calibration)


def calibrate(
    work: Work,
    pieces: tuple[Piece, ...],
    images: Vectors,
    texts: Vectors,
    mathematics: Mathematics,
    size: int,
    seed: int,
    deep: bool,
    device: str,
    progress: Progress,
) -> None:
    """Fit a calibration to a sample of the pairs, and save it."""
    if work.calibration.exists():
        return
    numbers, image_codes, caption_codes = draw_sample(work, pieces, size, seed, progress)
    units, bad = [], np.zeros((2, len(numbers)), np.uint8)
    for number, (vectors, side) in enumerate(((images, "image"), (texts, "text"))):
        at = np.load(work.joins / f"{side}_at.npy", mmap_mode="r")[numbers]
        unit, bad[number] = gather(vectors.take, np.array(at))
        units.append(unit)
    good = (bad == 0).all(0)
    if not good.any():
        raise DataError(
            f"the vectors of all {len(numbers):,} sampled pairs are NaN, infinite or zero; expected numbers: "
            "make the vectors again"
        )
    calibration = mathematics.fit(
        units[0][good], units[1][good], image_codes[good], caption_codes[good], seed, deep, device
    )
    mathematics.save(calibration, work.calibration)


def judge_repeats(
    work: Work,
    pieces: tuple[Piece, ...],
    mathematics: Mathematics,
    seed: int,
    memory: int,
    progress: Progress,
) -> None:
    """Write what captions that stand beside several pictures say, each of itself and all of the rest."""
    if work.repeats.exists():
        return
    calibration = mathematics.read(work.calibration)
    files = [work.terms / f"{piece.name}.parquet" for piece in pieces]
    for piece, path in zip(pieces, files, strict=True):
        if not path.exists():
            write_terms(work.path, piece, lambda columns: mathematics.terms(columns, calibration), path)
    log_bayes = write_log_bayes(work.row_files(pieces), files, work.joins, pieces[-1].rows.stop, memory)
    log_odds = single_log_odds(work.path, pieces, seed, progress)
    found = mathematics.repeats(log_bayes, log_odds, calibration)
    write_json(work.repeats, asdict(found))


def finished_pieces(work: Work, tasks: tuple[Task, ...]) -> tuple[Piece, ...]:
    """Return the pieces of all tasks.

    Raises:
        DataError: they hold no pair.
    """
    pieces = all_pieces(work.rows, tasks)
    if not pieces or pieces[-1].rows.stop == 0:
        raise DataError("the source has no pairs, or its filter leaves none; expected at least one")
    return pieces
