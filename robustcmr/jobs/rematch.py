"""Whole-set rematching of a finished run: its model, its beliefs, and a plan for all that it suspects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.correction.candidates import Candidates, nearest_candidates
from robustcmr.correction.dense_whole_set import rematch_whole_set_densely
from robustcmr.correction.whole_set import WholeSetPlan, rematch_whole_set
from robustcmr.data.pairs import TrainingPairs, image_batches
from robustcmr.errors import ConfigError, DataError, RunFolderError
from robustcmr.evaluation.candidate_search import Collection, Scoring, scoring_vectors, search_candidates
from robustcmr.jobs.open import LoadedRun, load_run
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.pairs_table import read_pairs
from robustcmr.runs.rematches_table import RematchesTable, write_rematches
from robustcmr.tracks.pairs import PairsTrack
from robustcmr.types import IntArray, PairsTable, TextBatch

FILE = "rematches.csv"


@dataclass(frozen=True)
class RematchOptions:
    """How suspected captions are rematched.

    Attributes:
        top_k: candidates a caption, >= 1.
        mass: part of the captions' mass to move over the candidates, in (0, 1].
        reach: root of the price of moving more or less than a share, > 0, for a plan over all images in place
            of one over the candidates; None for the latter.
        epsilon: smoothing > 0, in units of the score.
        capacity: captions an image may take, > 0; None for even shares, or one caption where those are less.
        scoring: how a matcher without one vector a side finds candidates.
        shortlist: images a caption that it scores exactly where not all are.
        half: search vectors in bfloat16.
    """

    top_k: int = 50
    mass: float = 0.5
    reach: float | None = None
    epsilon: float = 0.01
    capacity: float | None = None
    scoring: Scoring = "auto"
    shortlist: int = 500
    half: bool = False


def rematch_run(
    path: Path, options: RematchOptions, output: Path | None = None, device: str | None = None
) -> dict[str, Any]:
    """Suggest an image for every suspected caption of a run and write all suggestions down.

    Candidates come from the first matcher of the best epoch and the whole training set; the image that a
    suspected pair was given is none of them.

    Args:
        path: the run folder.
        options: how to rematch.
        output: the CSV file; ``rematches.csv`` in the run folder by default.
        device: where to compute; the run's own setting when None.

    Returns:
        ``output``, ``pairs``, ``suspected``, and where any are: ``images``, ``search``, ``scored``,
        ``edges``, ``mass``, ``asked``, ``error``, ``converged``, ``iterations`` (see ``WholeSetPlan``),
        seconds of ``candidates`` and of ``transport``, and ``quality`` where the truth is known.

    Raises:
        UserError: there is no finished run that divides pairs, its data or its table does not fit, or the
            file cannot be written.
    """
    folder = RunFolder(path)
    target = path / FILE if output is None else output
    if target.is_dir():
        raise RunFolderError(f"{target} is a folder, expected a file for the rematches; add a name to it")
    table = _suspecting_table(folder)
    run = load_run(path, device=device)
    track = run.track
    if not isinstance(track, PairsTrack):
        raise RunFolderError(f"{path} is a run of the {track.name} track, whose pairs cannot be rematched")
    split = track.data.split("train")
    rows = np.flatnonzero(~table.is_clean)
    _check_table(folder, table, track)
    told: dict[str, Any] = {"output": str(target), "pairs": len(table), "suspected": len(rows)}
    if len(rows) == 0:
        write_rematches(target, _table(table, rows, *_nothing(), names=None))
        return told
    collection = _collection(run, track, rows, split.n_images)
    found, plan, seconds = _solve(run, collection, options, track.block_bytes)
    place, images, scores = plan.place.numpy(), found.images.numpy(), found.scores.numpy()
    suggested = np.where(place >= 0, images[np.arange(len(rows)), place], -1)
    score = np.where(place >= 0, scores[np.arange(len(rows)), place].astype(np.float64), np.nan)
    columns = [x.double().numpy() for x in (plan.share, plan.margin, plan.moved)]
    write_rematches(
        target, _table(table, rows, suggested, score, place + 1, *columns, names=split.image_names)
    )
    quality = track.evaluate_whole_set(rows, images, scores, plan.plan.numpy(), place)
    return {
        **told,
        "images": split.n_images,
        "search": found.search,
        "scored": found.scored,
        "edges": plan.edges,
        "mass": plan.mass,
        "asked": plan.asked,
        "error": plan.error,
        "converged": plan.converged,
        "iterations": plan.iterations,
        "seconds": {"candidates": seconds, "transport": plan.seconds},
        **({"quality": quality} if quality else {}),
    }


def _solve(
    run: LoadedRun, collection: Collection, options: RematchOptions, block_bytes: int
) -> tuple[Candidates, WholeSetPlan, float]:
    """The candidates, the plan, and the seconds that the candidates took."""
    started = time.perf_counter()
    if options.reach is not None:
        texts, images = _unit_vectors(run, collection)
        excluded = collection.excluded.to(run.device)
        found = nearest_candidates(
            texts, images, options.top_k, excluded, half=options.half, block_bytes=block_bytes
        ).cpu()
        seconds = time.perf_counter() - started
        plan = rematch_whole_set_densely(
            texts, images, found, options.reach, options.epsilon, capacity=options.capacity
        )
        return found, plan, seconds
    found = search_candidates(
        run.matchers[0],
        collection,
        options.top_k,
        run.device,
        scoring=options.scoring,
        shortlist=options.shortlist,
        half=options.half,
        block_bytes=block_bytes,
    )
    seconds = time.perf_counter() - started
    plan = rematch_whole_set(
        found, collection.n_images, options.mass, options.epsilon, capacity=options.capacity
    )
    return found, plan, seconds


def _unit_vectors(run: LoadedRun, collection: Collection) -> tuple[Tensor, Tensor]:
    """Vectors of the captions and of the images, which a dense plan takes to be of length 1."""
    vectors, name = scoring_vectors(run.matchers[0], collection, run.device), run.config.matcher.name
    if vectors is None:
        raise ConfigError(
            f"a dense plan needs a matcher that compares one vector a side, {name} compares more; take the "
            "sparse plan"
        )
    if not all(torch.allclose(side.norm(dim=1), side.new_ones(()), atol=1e-3) for side in vectors):
        raise ConfigError(
            f"a dense plan needs vectors of length 1, those of {name} are of others; take the sparse plan"
        )
    return vectors


def _suspecting_table(run: RunFolder) -> PairsTable:
    run.require_trained()
    if run.pairs.is_file():
        return read_pairs(run.pairs)
    if run.labels.is_file():
        raise RunFolderError(
            f"{run.path} corrects labels, expected a run that suspects pairs; see its labels by 'robustcmr "
            f"suspects {run.path}'"
        )
    if run.read_results() is None:
        raise RunFolderError(
            f"{run.path} has no {run.pairs.name} yet; finish it by 'robustcmr train --resume {run.path}'"
        )
    raise RunFolderError(
        f"{run.path} has no {run.pairs.name}: its method does not say which pairs it believes to be wrong; "
        "train one that divides the pairs"
    )


def _check_table(run: RunFolder, table: PairsTable, track: PairsTrack) -> None:
    given = track.training.correspondence.image_of_caption
    same = np.array_equal(table.pair, np.arange(len(given))) and np.array_equal(table.image, given)
    if not same or list(table.caption) != list(track.data.split("train").captions):
        raise DataError(
            f"{run.pairs} does not list the pairs that this run was trained on; put the old data and the "
            "file that the end of training wrote back"
        )


def _collection(run: LoadedRun, track: PairsTrack, rows: IntArray, n_images: int) -> Collection:
    size = run.config.settings.evaluation.batch_size
    given = track.training.correspondence.image_of_caption[rows]
    return Collection(
        lambda: image_batches(track.training.images, size),
        lambda: _text_batches(track.training, rows, size),
        n_images,
        torch.from_numpy(given),
    )


def _text_batches(training: TrainingPairs, rows: IntArray, size: int) -> Iterator[TextBatch]:
    """Some captions, in batches."""
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        tokens, mask = training.captions.padded(some)
        vectors = None
        if training.text_vectors is not None:
            vectors = torch.from_numpy(training.text_vectors.take(some)[:, 0])
        yield TextBatch(torch.from_numpy(tokens), torch.from_numpy(mask), vectors)


def _nothing() -> tuple[Any, ...]:
    whole, real = np.empty(0, np.int64), np.empty(0, np.float64)
    return whole, real, whole, real, real, real


def _table(
    table: PairsTable,
    rows: IntArray,
    suggested: IntArray,
    score: Any,
    rank: IntArray,
    share: Any,
    margin: Any,
    moved: Any,
    *,
    names: Any,
) -> RematchesTable:
    return RematchesTable(
        pair=table.pair[rows],
        caption=[table.caption[i] for i in rows.tolist()],
        image=table.image[rows],
        image_name=[table.image_name[i] for i in rows.tolist()],
        clean_probability=table.clean_probability[rows],
        rematch=suggested,
        rematch_name=[names[i] if names is not None and i >= 0 else "" for i in suggested.tolist()],
        score=table.score[rows],
        rematch_score=score,
        rank=rank,
        share=share,
        share_margin=margin,
        moved=moved,
    )
