"""How far suggestions can be trusted, without labels: pairs are taken apart on purpose and sought again.

Two groups of pairs are hidden: of the first, the image is free to be found by its caption; of the second, it
is out of reach. The signs of a caption's best image are the log of the mass that the plan puts on it, the log
of its share of the caption's mass, and its score; t is the line of these that best tells right best images
from all others. With densities f_1(t) and f_0(t) of the two groups, and u(t) the share of the first whose
best image is right,

    P(right | t) = q f_1(t) u(t) / (q f_1(t) + (1 - q) f_0(t)),        logit q = logit P(mismatched) + delta

where delta, of greatest likelihood, says how many more or fewer of the mismatched captions have an image in
the pool. Pairs are drawn in proportion to the probability that they are right, so that hidden ones are like
right ones of any kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression

from robustcmr.audit.partners import FIRST_WEIGHTS, Edges, Pool
from robustcmr.types import IntArray

Values = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MOST = 2_000
"""Pairs of a group that are hidden at once."""

_SHARE = 0.05  # of all pairs in a group
_LIKELY_WRONG = 0.5  # such pairs are not hidden
_FIRST_BIN, _GROWTH, _LARGEST_BIN = 20, 1.3, 200  # pairs of the bins of t, from the highest on
_PRIOR = 2.0  # pairs whose word the first weights are worth
_SHIFTS = (-6.0, 3.0)  # of the log odds; delta is worth a standard normal beforehand


@dataclass(frozen=True)
class Hidden:
    """Pairs that are taken apart, (h,) each, of different images.

    Attributes:
        free: their captions can find their images.
        alone: their images are out of reach.
        room: (h,) captions that the images of ``free`` seem to have lost, as those of suspected pairs do.
    """

    free: IntArray
    alone: IntArray
    room: Values

    @property
    def every(self) -> IntArray:
        """All of them, (2 h,)."""
        return np.concatenate([self.free, self.alone])


def draw_hidden(pool: Pool, asked: IntArray, rng: np.random.Generator) -> Hidden:
    """Draw pairs to hide; ``asked`` are those whose captions seek a partner anyway."""
    likely = np.flatnonzero(pool.mismatched < _LIKELY_WRONG)
    size = min(MOST, int(_SHARE * len(likely)))
    keys = np.log(rng.random(len(likely))) / (1 - pool.mismatched[likely])  # a weighted draw in order
    drawn = likely[np.argsort(-keys)][: 4 * size]
    _, firsts = np.unique(pool.image[drawn], return_index=True)
    drawn = drawn[np.sort(firsts)]
    size = min(size, len(drawn) // 2)
    chance = pool.mismatched[asked]
    room = rng.choice(chance, size, p=chance / chance.sum())
    return Hidden(drawn[:size], drawn[size : 2 * size], room)


def fit_weights(parts: list[tuple[Edges, BoolArray]]) -> Values:
    """Return the weights of the features, (3,), by which hidden captions most likely choose their own image.

    The weight of the last, the log of the room, is 1: it is a prior.

    Args:
        parts: edges, and which of them lead to the own image of a hidden caption, (E,).
    """
    chosen = [(edges, own, np.isin(edges.rows, edges.rows[own])) for edges, own in parts]
    features = np.concatenate([edges.features[some] for edges, _, some in chosen])
    if not len(features):
        return FIRST_WEIGHTS
    own = np.concatenate([own[some] for _, own, some in chosen])
    starts = np.concatenate([np.flatnonzero(_new(edges.rows[some])) for edges, _, some in chosen])
    shift = np.cumsum([0] + [int(some.sum()) for _, _, some in chosen])[:-1]
    starts += np.repeat(shift, [int(_new(edges.rows[some]).sum()) for edges, _, some in chosen])
    lengths = np.diff(np.r_[starts, len(features)])
    scale = features[:, :2].std(0) + 1e-12
    free, first = features[:, :2] / scale, FIRST_WEIGHTS[:2] * scale

    def loss(weights: Values) -> tuple[float, Values]:
        score = free @ weights + features[:, 2]
        score -= np.repeat(np.maximum.reduceat(score, starts), lengths)
        total = np.repeat(np.add.reduceat(np.exp(score), starts), lengths)
        missed = np.exp(score) / total - own
        value = -float((score - np.log(total))[own].sum()) + _PRIOR * float(((weights - first) ** 2).sum())
        return value, missed @ free + 2 * _PRIOR * (weights - first)

    found = minimize(loss, first, jac=True, bounds=[(0, None)] * 2, method="L-BFGS-B")
    return np.append(found.x / scale, FIRST_WEIGHTS[2])


def _new(rows: IntArray) -> BoolArray:
    """Whether each entry begins a run of equal ones."""
    return np.concatenate([np.ones(min(1, len(rows)), np.bool_), rows[1:] != rows[:-1]])


@dataclass(frozen=True)
class Trust:
    """How likely the best image of a caption is right, by its signs.

    Attributes:
        line: (S,) weights of the signs in t.
        points: (K,) ascending t.
        right: (K,) u there, rising.
        partner: (K,) f_1 / (f_1 + f_0) there, rising.
    """

    line: Values
    points: Values
    right: Values
    partner: Values

    def at(self, signs: Values) -> tuple[Values, Values]:
        """Return u and f_1 / (f_1 + f_0), (n,) each, of signs (n, S)."""
        t = signs @ self.line
        return np.interp(t, self.points, self.right), np.interp(t, self.points, self.partner)

    def prior(self, signs: Values, mismatched: Values) -> Values:
        """Return q, (n,), from the signs (n, S) and the probabilities of being mismatched (n,)."""
        _, partner = self.at(signs)
        odds = logit(np.clip(mismatched, 1e-6, 1 - 1e-6))

        def surprise(delta: float) -> float:
            q = expit(odds + delta)
            return delta**2 / 2 - float(np.log(q * partner + (1 - q) * (1 - partner)).sum())

        found = minimize_scalar(surprise, bounds=_SHIFTS, method="bounded")
        return np.asarray(expit(odds + found.x))

    def probability(self, signs: Values, prior: Values) -> Values:
        """Return P(right | t), (n,), of signs (n, S) with the prior q."""
        right, partner = self.at(signs)
        return prior * partner * right / (prior * partner + (1 - prior) * (1 - partner))


def fit_trust(found: Values, right: BoolArray, without: Values) -> Trust:
    """Fit the trust to hidden pairs.

    Args:
        found: (n, S) signs of hidden pairs whose image is free.
        right: (n,) whether their best image is the right one.
        without: (m, S) signs of hidden pairs whose image is out of reach.
    """
    signs = np.concatenate([found, without])
    free = np.r_[np.ones(len(found), bool), np.zeros(len(without), bool)]
    own = np.r_[right, np.zeros(len(without), bool)]
    line = _line(signs, own)
    t = signs @ line
    order = np.argsort(-t, kind="stable")
    points, rights, partners, weights = [], [], [], []
    start, size = 0, float(_FIRST_BIN)
    while start < len(order):
        stop = start + int(size)
        some = order[start:] if len(order) - stop < _FIRST_BIN else order[start:stop]
        here, other = int(free[some].sum()), int((~free[some]).sum())
        points.append(t[some].mean())
        rights.append((own[some].sum() + 0.5) / (here + 1))
        shares = (here + 0.5) / (len(found) + 1), (other + 0.5) / (len(without) + 1)
        partners.append(shares[0] / sum(shares))
        weights.append(float(len(some)))
        start, size = start + len(some), min(_LARGEST_BIN, size * _GROWTH)
    rising = [
        isotonic_regression(np.array(values[::-1]), sample_weight=np.array(weights[::-1]))
        for values in (rights, partners)
    ]
    return Trust(line, np.array(points[::-1]), *rising)


def _line(signs: Values, own: BoolArray) -> Values:
    """Return the weights of the signs that tell right best images from others."""
    if own.all() or not own.any():
        return np.asarray(np.eye(signs.shape[1])[0])
    scale = signs.std(0) + 1e-12
    model = LogisticRegression(C=1.0, max_iter=500).fit((signs - signs.mean(0)) / scale, own)
    return np.asarray(model.coef_[0] / scale)
