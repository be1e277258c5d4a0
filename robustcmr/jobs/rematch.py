"""Rematch all suspected captions of a finished run with the images of the whole training set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.correction.candidates import Candidates, nearest_candidates
from robustcmr.correction.dense_whole_set import rematch_whole_set_densely
from robustcmr.correction.whole_set import WholeSetPlan, rematch_whole_set
from robustcmr.errors import ConfigError, RunFolderError
from robustcmr.evaluation.candidate_search import Collection, Scoring, scoring_vectors, search_candidates
from robustcmr.jobs.open import OpenRun, open_run
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.runs.rematches_table import RematchesTable
from robustcmr.types import FloatArray, IntArray

_OF_THE_PLAN = ("edges", "mass", "asked", "error", "converged", "iterations")  # attributes that are reported


@dataclass(frozen=True)
class RematchOptions:
    """Options of a whole-set rematching.

    Attributes:
        top_k: candidates per caption, >= 1.
        mass: share of the captions' mass to move to the candidates, in (0, 1].
        reach: price of unmatched mass, > 0, for a dense plan over all images; None for a sparse plan over the
            candidates, of fixed ``mass``.
        epsilon: entropic smoothing > 0, in units of the score.
        capacity: captions per image, > 0; None for even shares, but at least one caption.
        scoring: how a matcher without one vector per side finds candidates.
        shortlist: images per caption scored exactly, if not all are.
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
    path: Path,
    options: RematchOptions,
    output: Path | None = None,
    device: str | None = None,
    trusted: bool = False,
) -> dict[str, Any]:
    """Suggest an image for every suspected caption of a run and write the suggestions as CSV.

    Candidates come from the first matcher of the best epoch and the whole training set, without the image
    that the suspected pair was given.

    Args:
        path: the run folder.
        options: how to rematch.
        output: the CSV file; ``rematches.csv`` in the run folder by default.
        device: where to compute; the run's own setting if None.
        trusted: import the ``package.module:Class`` that the run names, even if it was not trained here.

    Returns:
        ``output``, ``pairs``, ``suspected``, and if there are any: ``images``, ``search``, ``scored``,
        ``edges``, ``mass``, ``asked``, ``error``, ``converged``, ``iterations`` (see ``WholeSetPlan``),
        seconds of ``candidates`` and of ``transport``, and ``quality`` if the truth is known.

    Raises:
        UserError: there is no finished run that divides pairs, its data or its table has changed, or the
            file cannot be written.
    """
    folder = RunFolder(path)
    target = path / RematchesTable.file if output is None else output
    if target.is_dir():
        raise RunFolderError(f"{target} is a folder, expected a file for the rematches; add a name to it")
    folder.require_estimates(folder.pairs)
    with folder.unreplaced():
        table = PairsTable.read(folder.pairs)
        run = open_run(path, device=device, trusted=trusted)
    collection = run.track.suspects(table)
    rows = np.flatnonzero(~table.is_clean)
    report: dict[str, Any] = {"output": str(target), "pairs": len(table), "suspected": len(rows)}
    if len(rows) == 0:
        RematchesTable.empty().write(target)
        return report
    found, plan, seconds = _solve(run, collection, options)
    place, images, scores = plan.place.numpy(), found.images.numpy(), found.scores.numpy()
    split = run.track.retrieval_split("train")
    names = None if split is None else split.image_names
    _suggestions(table, rows, place, images, scores, plan, names).write(target)
    quality = run.track.rematch_quality(rows, images, scores, plan.plan.numpy(), place)
    return {
        **report,
        "images": collection.n_images,
        "search": found.search,
        "scored": found.scored,
        **{name: getattr(plan, name) for name in _OF_THE_PLAN},
        "seconds": {"candidates": seconds, "transport": plan.seconds},
        **({"quality": quality} if quality else {}),
    }


def _solve(
    run: OpenRun, collection: Collection, options: RematchOptions
) -> tuple[Candidates, WholeSetPlan, float]:
    """Return candidates, plan, and the seconds that the search for candidates took."""
    started, k, epsilon, capacity = time.perf_counter(), options.top_k, options.epsilon, options.capacity
    search: Any = {"half": options.half, "block_bytes": run.track.block_bytes}
    if options.reach is not None:
        texts, images = _unit_vectors(run, collection)
        found = nearest_candidates(texts, images, k, collection.excluded.to(run.device), **search).cpu()
        seconds = time.perf_counter() - started
        plan = rematch_whole_set_densely(texts, images, found, options.reach, epsilon, capacity=capacity)
        return found, plan, seconds
    search |= {"scoring": options.scoring, "shortlist": options.shortlist}
    found = search_candidates(run.matchers[0], collection, k, run.device, **search)
    seconds = time.perf_counter() - started
    plan = rematch_whole_set(found, collection.n_images, options.mass, epsilon, capacity=capacity)
    return found, plan, seconds


def _unit_vectors(run: OpenRun, collection: Collection) -> tuple[Tensor, Tensor]:
    """Return vectors of captions and images; a dense plan needs them of length 1."""
    vectors, name = scoring_vectors(run.matchers[0], collection, run.device), run.config.matcher.name
    if vectors is None:
        raise ConfigError(
            f"a dense plan needs a matcher with one vector per side, and {name} compares more; use "
            "--plan sparse"
        )
    if not all(torch.allclose(side.norm(dim=1), side.new_ones(()), atol=1e-3) for side in vectors):
        raise ConfigError(
            f"a dense plan needs vectors of length 1, and those of {name} are not; use --plan sparse"
        )
    return vectors


def _suggestions(
    table: PairsTable,
    rows: IntArray,
    place: IntArray,
    images: IntArray,
    scores: FloatArray,
    plan: WholeSetPlan,
    names: Sequence[str] | None,
) -> RematchesTable:
    """Return the suggestion for each of the (n,) suspected ``rows`` of a table.

    ``place`` (n,) is its place among the candidate ``images`` (n, k) and ``scores`` (n, k), or -1.
    """
    every = np.arange(len(rows))
    suggested = np.where(place >= 0, images[every, place], -1)
    share, margin, moved = (x.double().numpy() for x in (plan.share, plan.margin, plan.moved))
    return RematchesTable(
        pair=table.pair[rows],
        caption=[table.caption[i] for i in rows.tolist()],
        image=table.image[rows],
        image_name=[table.image_name[i] for i in rows.tolist()],
        clean_probability=table.clean_probability[rows],
        rematch=suggested,
        rematch_name=[names[i] if names is not None and i >= 0 else "" for i in suggested.tolist()],
        score=table.score[rows],
        rematch_score=np.where(place >= 0, scores[every, place].astype(np.float64), np.nan),
        rank=place + 1,
        share=share,
        share_margin=margin,
        moved=moved,
        id=None if table.id is None else [table.id[i] for i in rows.tolist()],
    )
