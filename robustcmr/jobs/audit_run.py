"""Run the stages of an audit and write what it found; the same call resumes what was stopped."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustcmr.audit.judging import Repeats
from robustcmr.audit.lists import write_uids
from robustcmr.audit.near_duplicates import TABLES
from robustcmr.audit.near_pairs import write_no_near_pairs
from robustcmr.audit.output import write_output
from robustcmr.audit.parts import PIECE, plan_tasks
from robustcmr.audit.rows import ReadPairs
from robustcmr.errors import DataError
from robustcmr.files import read_json, write_json
from robustcmr.jobs import audit_stages as stages
from robustcmr.jobs.audit_engines import engine_of
from robustcmr.jobs.audit_mathematics import Mathematics
from robustcmr.jobs.audit_progress import AuditProgress, announce, duration, known_pairs
from robustcmr.jobs.audit_settings import LOCK, VERSION, AuditSettings, check_plan
from robustcmr.locks import sole_user
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.records import Source
from robustcmr.sources.shards import below_root

if TYPE_CHECKING:
    from robustcmr.sources.vectors import Vectors
    from robustcmr.terminal import Console

logger = logging.getLogger("robustcmr")


@dataclass(frozen=True)
class Given:
    """What an audit works on.

    Attributes:
        source: the pairs.
        fingerprint: of the source.
        images: vectors of the pictures.
        texts: vectors of the captions.
        read: reads the pairs of a shard.
        mathematics: judges pairs.
        piece: pairs of a piece, at most.
        says: what else is to be told of the vectors, one sentence each.
    """

    source: Source
    fingerprint: dict[str, Any]
    images: Vectors
    texts: Vectors
    read: ReadPairs
    mathematics: Mathematics
    piece: int = PIECE
    says: tuple[str, ...] = ()


def run_audit(
    given: Given,
    settings: AuditSettings,
    output: Path,
    console: Console,
    restart: bool = False,
    command: str | None = None,
) -> AuditFolder:
    """Audit pairs, or go on with an audit that was stopped.

    Args:
        given: pairs and vectors.
        settings: how.
        output: folder of the audit.
        console: for progress.
        restart: whether to remove an audit that is there.
        command: what the user gave, for ``audit.json``; None for that of this process.

    Raises:
        UserError: the folder holds something else or is in use, pairs or vectors cannot be read, or
            ``strict`` and there is a problem.
    """
    if given.images.width != given.texts.width:
        raise DataError(
            f"the image vectors have {given.images.width} numbers and the text vectors {given.texts.width}; "
            "expected vectors of one model"
        )
    folder = AuditFolder(output)
    began = time.monotonic()
    plan = {
        "version": VERSION,
        "settings": settings.decisive(),
        "source": given.fingerprint,
        "image vectors": given.images.fingerprint(),
        "text vectors": given.texts.fingerprint(),
        "size of pieces": given.piece,
    }
    with sole_user(output / LOCK, f"the audit folder {output}"):
        if check_plan(folder, plan, restart):
            logger.info("resuming the audit in %s", output)
        for sentence in (*given.source.says, *given.images.says, *given.texts.says):
            logger.info("%s", sentence)
        announce(given.source, output, given.images.width)
        work = stages.Work(folder.work)
        clock = _Clock(folder.work / "seconds.json", began)
        try:
            with (
                AuditProgress(console) as progress,
                clock,
                engine_of(settings.engine, settings.address) as engine,
            ):
                pieces = _scored(given, settings, work, progress, engine)
                _write(given, settings, folder, work, pieces, progress, clock, command, plan)
        except KeyboardInterrupt:
            logger.info("the same call resumes the audit in %s", output)
            raise
        rmtree(folder.work)
    return folder


class _Clock:
    """Seconds of an audit, those before it was stopped included."""

    def __init__(self, path: Path, began: float) -> None:
        self._path, self._began = path, began
        self._before = float(read_json(path, float)) if path.exists() else 0.0

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._path.parent.is_dir():
            write_json(self._path, self.seconds())


def _scored(
    given: Given, settings: AuditSettings, work: stages.Work, progress: AuditProgress, engine: Any
) -> tuple[Any, ...]:
    """Run all stages up to the scores; return the pieces."""
    tasks = plan_tasks(given.source.shards, given.piece)
    with progress.stage("reading", known_pairs(given.source)):
        ingest = stages.Ingest(given.source, work, given.read, settings.where, given.piece)
        engine.run(ingest, tasks, progress.pairs)
    pieces = stages.finished_pieces(work, tasks)
    total = pieces[-1].rows.stop
    with progress.stage("counting captions", None):
        stages.join_facts(work, pieces, settings.memory)
    every: Callable[[], Iterator[pa.RecordBatch]] | None = None
    if settings.where is not None:
        every = partial(_all_pairs, given)
    for vectors, side in ((given.images, "image"), (given.texts, "text")):
        with progress.stage(f"joining {side} vectors", None):
            stages.join_vectors(work, pieces, vectors, side, settings.memory, every)
    if settings.near_duplicates:
        with progress.stage("finding near duplicates", (2 + TABLES) * total):
            stages.join_near(work, pieces, given.images, given.texts, settings.memory, progress.pairs)
    else:
        write_no_near_pairs(work.joins, total)
    if settings.strict:
        stages.check_strictly(work, pieces)
    with progress.stage("calibrating", total):
        if settings.calibration is not None:
            stages.take_calibration(
                *(work, settings.calibration, given.images.width, settings.model, given.mathematics)
            )
        stages.calibrate(
            *(work, pieces, given.images, given.texts, given.mathematics),
            *(settings.sample, settings.seed, settings.deep, settings.device, progress.pairs),
        )
    with progress.stage("scoring", total):
        scoring = stages.Scoring(work, given.images, given.texts, given.mathematics, settings.device)
        engine.run(scoring, pieces, progress.pairs)
    with progress.stage("judging repeated captions", total):
        stages.judge_repeats(work, pieces, given.mathematics, settings.seed, settings.memory, progress.pairs)
    return pieces


def _all_pairs(given: Given) -> Iterator[pa.RecordBatch]:
    return chain.from_iterable(given.read(given.source, shard) for shard in given.source.shards)


def _write(
    given: Given,
    settings: AuditSettings,
    folder: AuditFolder,
    work: stages.Work,
    pieces: tuple[Any, ...],
    progress: AuditProgress,
    clock: _Clock,
    command: str | None,
    plan: dict[str, Any],
) -> None:
    """Write what the user sees; ``audit.json`` comes last."""
    calibration = given.mathematics.read(work.calibration)
    repeats = Repeats(**read_json(work.repeats, dict[str, float]))
    names = [below_root(given.source, shard).as_posix() for shard in given.source.shards]
    by = settings.calibration or "these pairs"
    with progress.stage("writing", pieces[-1].rows.stop):
        tally, uids = write_output(
            *(pieces, work.path, folder.pairs, folder.lists, names),
            lambda columns: given.mathematics.judge(columns, repeats, calibration),
            by,
            progress.pairs,
            settings.strict,
        )
        counts = {name: tally.decisions.get(name, 0) for name in ("keep", "drop", "review", "aside")}
        if uids:
            write_uids(folder.pairs, folder.lists, counts, work.path / "spill", settings.memory)
    given.mathematics.save(calibration, folder.path / "calibration.npz")
    rate = calibration.rate
    write_json(
        folder.summary,
        {
            "pairs": tally.pairs,
            "decisions": counts,
            "reasons": {name: dict(found.most_common()) for name, found in tally.reasons.items()},
            "noise_rate": asdict(rate),
            "problems": tally.problems(),
            "says": [
                *(*given.source.says, *given.images.says, *given.texts.says, *given.says),
                *stages.said_of_keys(work),
            ],
            "seed": settings.seed,
            "seconds": round(clock.seconds(), 1),
        },
    )
    write_json(
        folder.about,
        {
            "robustcmr_version": VERSION,
            "command": " ".join(sys.argv) if command is None else command,
            "source": {
                "format": given.source.format,
                "root": str(given.source.root),
                "files": len(given.source.shards),
                "columns": {name: getattr(given.source.columns, name) for name in ("image", "text", "id")},
            },
            "fingerprint": given.fingerprint,
            "vectors": {"image": plan["image vectors"], "text": plan["text vectors"]},
            "settings": plan["settings"],
        },
    )
    logger.info("audited %s pairs in %s", f"{tally.pairs:,}", duration(clock.seconds()))
