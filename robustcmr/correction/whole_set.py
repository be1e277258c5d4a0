"""Whole-set rematching: suspected captions moved to images of the whole training set by one partial plan.

    min <1 - S, P> - epsilon H(P)   s.t.  P 1 <= 1/n,  P' 1 <= capacity / n,  sum P = mass

over the candidates of each caption alone. If ``max_iterations`` run out, a warning is logged and the last
plan is used; ``error`` is then the share of the mass out of place.

Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.correction.candidates import Candidates
from robustcmr.transport.sparse_graph import sparse_feasible_mass
from robustcmr.transport.sparse_partial import sparse_partial_plan

_SHORT_OF_FULL = 0.99  # the last percent can take very many iterations


@dataclass(frozen=True)
class WholeSetPlan:
    """Suggestions of a whole-set rematching for n captions with up to k candidates each.

    Attributes:
        plan: (n, k) float32, mass moved from each caption to each of its candidates.
        place: (n,) int64, the candidate that receives most, 0 for the best-scoring one; -1 without
            candidates.
        share: (n,) part of the caption's moved mass that goes there, in 0..1; NaN without candidates.
        margin: (n,) lead of that share over the next; NaN likewise.
        moved: (n,) part of the caption's own share that was moved, in 0..1, or more where mass has a price.
            Where it is about 0, the plan leaves the caption alone and the suggestion is what would move
            first.
        mass: total moved mass, of the mass 1 that the captions hold together.
        asked: requested mass; more than ``mass`` where the candidates carry less. None where mass has a
            price.
        error: share of the mass that is out of place.
        converged: whether the error is within the tolerance.
        iterations: scalings of captions and images; None where unknown.
        edges: number of caption-image pairs that could carry mass.
        seconds: duration of the transport.
    """

    plan: Tensor
    place: Tensor
    share: Tensor
    margin: Tensor
    moved: Tensor
    mass: float
    asked: float | None
    error: float
    converged: bool
    iterations: int | None
    edges: int
    seconds: float


def rematch_whole_set(
    candidates: Candidates,
    n_images: int,
    mass: float = 0.5,
    epsilon: float = 0.01,
    *,
    capacity: float | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 10_000,
) -> WholeSetPlan:
    """Move a fixed part of all suspected captions to their candidates at least cost 1 - score.

    Every caption holds 1/n and gives at most that. Every image takes at most ``capacity`` captions.

    Args:
        candidates: of n >= 1 captions.
        n_images: M, images of the whole set.
        mass: rho in (0, 1], of the mass 1 that the captions hold together. Where the candidates carry less,
            99% of what they carry is moved.
        epsilon: smoothing > 0, in units of the score.
        capacity: captions that an image may take, > 0; None for :func:`even_capacity`.
        tolerance: share of the mass that may be out of place.
        max_iterations: most scalings.

    Returns:
        The plan; zeros, converged, where there is no candidate at all. Detached, on the candidates' device.

    Example:
        >>> import numpy as np
        >>> from robustcmr.correction import Candidates
        >>> scores = np.array([[0.9, 0.1], [0.3, 0.2], [0.1, 0.7]])  # 3 images, 2 suspected captions
        >>> found = Candidates.from_scores(scores, k=2)
        >>> plan = rematch_whole_set(found, n_images=3)
        >>> found.images[range(2), plan.place]  # suggested for each caption
        tensor([0, 2])
    """
    started = time.perf_counter()
    n = len(candidates.images)
    if n == 0 or n_images < 1:
        raise ValueError(f"there must be captions and images to rematch, got {n} and {n_images}")
    if not 0 < mass <= 1:
        raise ValueError(f"the mass to rematch must be above 0 and at most 1, got {mass}")
    if capacity is None:
        capacity = even_capacity(n, n_images)
    if not capacity > 0:
        raise ValueError(f"the captions an image may take must be above 0, got {capacity}")
    rows, columns, scores = candidates.edges()
    given = scores.new_full((n,), 1 / n)
    taken = scores.new_full((n_images,), capacity / n)
    moved = _movable_mass(rows, columns, given, taken, mass)
    log_plan = torch.full_like(candidates.scores, -torch.inf)
    error, converged, iterations = 0.0, True, 0
    if moved > 0:
        found = sparse_partial_plan(
            rows,
            columns,
            1 - scores,
            given,
            taken,
            moved,
            epsilon=epsilon,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        log_plan[candidates.images >= 0] = found.log_plan
        error, converged, iterations = float(found.marginal_error), bool(found.converged), found.iterations
    plan = log_plan.exp()
    return WholeSetPlan(
        plan,
        *suggestions(log_plan, log_plan.logsumexp(1)),
        moved=(plan.sum(1) * n).clamp(max=1.0),
        mass=float(plan.double().sum()),
        asked=mass,
        error=error,
        converged=converged,
        iterations=iterations,
        edges=len(rows),
        seconds=time.perf_counter() - started,
    )


def even_capacity(n: int, n_images: int) -> float:
    """Return the captions an image takes by even shares of n, at least one.

    With less than one, part of every correct caption would have to go elsewhere.
    """
    return max(1.0, n / n_images)


def suggestions(log_plan: Tensor, log_moved: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return place, share and margin of the best candidate of each row; -1 and NaN without candidates.

    Shares are formed from logarithms, so they are valid for rows that move almost nothing, too.

    Args:
        log_plan: (n, k) logarithm of the mass moved from each caption to each candidate, -inf for none.
        log_moved: (n,) logarithm of the mass that each caption moves.
    """
    empty = (log_plan == -torch.inf).all(1)
    shares = (log_plan - log_moved.masked_fill(empty, 0.0).unsqueeze(1)).exp()  # (n, k)
    best, places = shares.topk(min(2, shares.shape[1]), dim=1)
    margin = best[:, 0] - best[:, 1] if best.shape[1] > 1 else best[:, 0]
    return (
        places[:, 0].masked_fill(empty, -1),
        best[:, 0].masked_fill(empty, torch.nan),
        margin.masked_fill(empty, torch.nan),
    )


def _movable_mass(rows: Tensor, columns: Tensor, given: Tensor, taken: Tensor, mass: float) -> float:
    """The mass, or 99% of what the candidates carry where that is less; 0 without candidates.

    The lesser of even shares by caption and by image is a lower bound; only a mass above it needs the exact
    one.
    """
    if len(rows) == 0:
        return 0.0
    by_row = given / torch.bincount(rows, minlength=len(given)).clamp(min=1)
    by_column = taken / torch.bincount(columns, minlength=len(taken)).clamp(min=1)
    passes = float(torch.minimum(by_row[rows], by_column[columns]).double().sum())
    if mass <= passes:
        return mass
    return min(mass, sparse_feasible_mass(rows, columns, given, taken) * _SHORT_OF_FULL)
