"""Better partners of mismatched pairs: an image for the caption and a caption for the image, or silence.

Captions of suspected pairs are rows and images with room are columns of a partial transport problem on the
edges of :mod:`robustcmr.audit.partners`, with score w.f and

    max <score, P> + H(P)   s.t.  P 1 <= 1,  P' 1 <= room,  sum P = sum q

so an image takes as many captions as it is expected to have lost. :mod:`robustcmr.audit.hidden` gives w, q
and the probability that a caption's best image is right. An image is suggested the captions whose best image
it is, so both suggestions have one probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from robustcmr.audit.calibration import Calibration
from robustcmr.audit.hidden import BoolArray, Hidden, Trust, Values, draw_hidden, fit_trust, fit_weights
from robustcmr.audit.partners import FIRST_WEIGHTS, Edges, Pool, candidate_edges
from robustcmr.errors import DataError, InfeasibleTransportError
from robustcmr.transport import sparse_feasible_mass, sparse_partial_plan
from robustcmr.types import IntArray

LEAST_HIDDEN = 100
"""Hidden pairs of a group, in all rounds together, for probabilities that can be stated."""

_ENOUGH, _ROUNDS = 2_000, 8  # hidden pairs of a group; rounds, at most
_FIRST_SHARE = 0.6  # of mismatched captions that have an image, before it is estimated
_PLANS = 2
_NO_MASS = -27.0  # log of the mass of a caption without candidates
_PRICES = 3  # plans until that of a round has the price of the whole


@dataclass(frozen=True)
class Suggestions:
    """Best partners, most likely right or not; the caller chooses from which probability on to give them.

    Attributes:
        captions: (n,) pairs whose captions sought an image.
        image: (n,) the image found; -1 where there is none.
        image_probability: (n,) that it is right.
        pairs: (m,) pairs whose images sought a caption.
        partner: (m,) pair that has the caption found, one of ``captions``; -1 where there is none.
        caption_probability: (m,) that it is right.
        hidden: pairs that were hidden to tell the probabilities.
        weights: (3,) of the features.
    """

    captions: IntArray
    image: IntArray
    image_probability: Values
    pairs: IntArray
    partner: IntArray
    caption_probability: Values
    hidden: int
    weights: Values


def suggest(
    pool: Pool,
    captions: IntArray,
    pairs: IntArray,
    calibration: Calibration,
    seed: int = 0,
    device: str = "cpu",
) -> Suggestions:
    """Find better partners of suspected pairs.

    Args:
        pool: pairs among which they are sought, the suspected ones among them.
        captions: (n,) pairs whose captions seek an image.
        pairs: (m,) pairs whose images seek a caption; it is that of one of ``captions``.
        calibration: of the audit.
        seed: of the hidden pairs.
        device: of torch.

    Raises:
        DataError: the pool is too small to say how likely suggestions are right.
    """
    rng = np.random.default_rng([seed, 21])
    if not len(captions):
        nothing = np.full(len(pairs), -1), np.zeros(len(pairs))
        return Suggestions(captions, captions, np.zeros(0), pairs, *nothing, 0, FIRST_WEIGHTS)
    rounds: list[_Round] = []
    while len(rounds) < _ROUNDS and sum(len(one.hidden.free) for one in rounds) < _ENOUGH:
        rounds.append(_sought(pool, captions, draw_hidden(pool, captions, rng), calibration, device))
    count = sum(len(one.hidden.free) for one in rounds)
    if count < LEAST_HIDDEN:
        raise DataError(
            f"{count} pairs could be hidden to see whether they are found again, expected at least "
            f"{LEAST_HIDDEN}; audit more pairs together"
        )
    weights = fit_weights([(one.edges, one.own) for one in rounds])
    room, chance = pool.room(), pool.mismatched[captions]
    edges = candidate_edges(
        pool, captions, pool.image[captions], pool.belief(), room, calibration, device=device
    )
    prior = _FIRST_SHARE * chance
    for _ in range(_PLANS):  # the mass depends on the prior, and the prior on the plan
        score = edges.features @ weights
        plan = transported(edges, score, len(captions), room, float(prior.sum()))
        image, signs = best_images(edges, plan, score, len(captions))
        trust = _trust(pool, rounds, weights, float(prior.mean()))
        prior = trust.prior(signs, chance)
    probability = np.where(image >= 0, trust.probability(signs, prior), 0.0)
    partner, theirs = best_captions(pool, captions, image, probability, pairs)
    return Suggestions(captions, image, probability, pairs, partner, theirs, 2 * count, weights)


def transported(edges: Edges, score: Values, n: int, room: Values, mass: float) -> Values:
    """Return the mass of the plan along each edge, (E,).

    Args:
        edges: between captions and images.
        score: (E,) log of how well they fit.
        n: number of captions, of weight 1 each.
        room: (M,) weights of the images.
        mass: to move; as much as can pass if that is less.
    """
    if not len(edges.rows) or mass <= 0:
        return np.zeros(len(edges.rows))
    sides = torch.from_numpy(edges.rows), torch.from_numpy(edges.images)
    weights = torch.ones(n, dtype=torch.float64), torch.from_numpy(np.asarray(room, np.float64))
    problem = (*sides, torch.from_numpy(-score), *weights)
    options = {"epsilon": 1.0, "tolerance": 1e-3, "max_iterations": 2_000}
    try:
        plan = sparse_partial_plan(*problem, mass, **options)  # type: ignore[arg-type]
    except InfeasibleTransportError:
        most = sparse_feasible_mass(*sides, *weights)
        plan = sparse_partial_plan(*problem, 0.95 * most, **options)  # type: ignore[arg-type]
    return np.asarray(plan.plan.numpy(), np.float64)


def best_images(edges: Edges, plan: Values, score: Values, n: int) -> tuple[IntArray, Values]:
    """Return the image of most mass of each caption, (n,), -1 for none, and its signs (n, 3).

    The signs are those of :mod:`robustcmr.audit.hidden`, as low as can be where there is no image.

    Args:
        edges: between captions and images.
        plan: (E,) mass along each.
        score: (E,).
        n: number of captions.
    """
    image = np.full(n, -1, np.int64)
    signs = np.tile([_NO_MASS, _NO_MASS, score.min(initial=0.0)], (n, 1))
    order = np.lexsort((edges.images, -score, -plan, edges.rows))
    first = order[np.r_[np.ones(min(1, len(order)), bool), np.diff(edges.rows[order]) > 0]]
    rows = edges.rows[first]
    of_row = np.bincount(edges.rows, plan, minlength=n)[rows]
    image[rows] = edges.images[first]
    logs = np.log(np.maximum(plan[first], np.exp(_NO_MASS)))
    signs[rows] = np.stack([logs, logs - np.log(np.maximum(of_row, np.exp(_NO_MASS))), score[first]], axis=1)
    return image, signs


def best_captions(
    pool: Pool, captions: IntArray, image: IntArray, probability: Values, pairs: IntArray
) -> tuple[IntArray, Values]:
    """Return which pair has the best caption for the image of each pair, -1 for none, and its probability.

    Of several pairs of an image, the most suspected gets the best caption, the next one the second.

    Args:
        pool: of all pairs.
        captions: (n,) pairs that have the captions.
        image: (n,) best image of each, -1 for none.
        probability: (n,) that it is right.
        pairs: (m,) whose images seek a caption.
    """
    offers = np.lexsort((-probability, image))
    wishes = np.lexsort((-pool.mismatched[pairs], pool.image[pairs]))
    wanted = pool.image[pairs[wishes]]
    rank = np.arange(len(wishes)) - np.searchsorted(wanted, wanted)
    at = np.searchsorted(image[offers], wanted) + rank
    there = at < np.searchsorted(image[offers], wanted, side="right")
    partner, theirs = np.full(len(pairs), -1, np.int64), np.zeros(len(pairs))
    best = offers[at[there]]
    partner[wishes[there]], theirs[wishes[there]] = captions[best], probability[best]
    return partner, theirs


@dataclass(frozen=True)
class _Round:
    """Hidden pairs and the candidates of all captions: suspected ones, then both hidden groups."""

    hidden: Hidden
    sought: IntArray
    suspected: int
    edges: Edges
    own: BoolArray
    room: Values


def _sought(pool: Pool, captions: IntArray, hidden: Hidden, calibration: Calibration, device: str) -> _Round:
    """Seek images for hidden captions together with the suspected ones."""
    suspected = np.setdiff1d(captions, hidden.every)
    sought = np.concatenate([suspected, hidden.every])
    first = len(suspected)
    excluded = pool.image[sought].copy()
    excluded[first : first + len(hidden.free)] = -1
    belief, room = pool.belief(), pool.room()
    belief[hidden.every] = 0
    np.add.at(room, pool.image[hidden.free], hidden.room - pool.mismatched[hidden.free])
    edges = candidate_edges(pool, sought, excluded, belief, room, calibration, device=device)
    own = (edges.rows >= first) & (edges.images == pool.image[sought[edges.rows]])
    return _Round(hidden, sought, first, edges, own, room)


def _trust(pool: Pool, rounds: list[_Round], weights: Values, share: float) -> Trust:
    """Return how far the best image of a caption can be trusted, where captions move ``share`` each."""
    free, rights, alone = [], [], []
    for one in rounds:
        n, first, h = len(one.sought), one.suspected, len(one.hidden.free)
        plan, score = _as_without_hidden(one, weights, share * first)
        image, signs = best_images(one.edges, plan, score, n)
        free.append(signs[first : first + h])
        rights.append(image[first : first + h] == pool.image[one.hidden.free])
        alone.append(signs[first + h :])
    return fit_trust(*(np.concatenate(parts) for parts in (free, rights, alone)))


def _as_without_hidden(one: _Round, weights: Values, moved: float) -> tuple[Values, Values]:
    """Return a plan in which the suspected captions move as much as they do alone, and the scores.

    So the price of moving is the same, and masses of hidden captions compare with those of suspected ones.
    """
    score, n = one.edges.features @ weights, len(one.sought)
    mass = moved * n / max(1, one.suspected)
    for _ in range(_PRICES):
        plan = transported(one.edges, score, n, one.room, mass)
        mass *= moved / max(float(plan[one.edges.rows < one.suspected].sum()), 1e-9)
    return plan, score
