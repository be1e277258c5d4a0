"""Captions that stand beside several images: judged as a group, as each image alone tells little.

Let r_i = f_1(e_i) / f(e_i) for the n images of a caption, see :mod:`robustcmr.audit.curve`. If the caption
was pasted, it is true of one of them and at random beside the others; if not, its pairs are like any others:

    log B = sum_i log((1 - 1/n) r_i + 1/n),        P(pasted) = rho B / (rho B + 1 - rho)

and within a pasted caption, where all but one in n pairs are wrong,

    P(wrong | e_i, pasted) = (1 - 1/n) r_i / ((1 - 1/n) r_i + (1/n) (1 - pi r_i) / (1 - pi))

So a caption that fits all its images is left alone, however often it occurs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Values = npt.NDArray[np.float64]

_MOST = 1 - 1e-6  # of pi r, which estimates can take beyond 1


def group_terms(p_mismatch: Values, share: Values | float, images: npt.ArrayLike) -> Values:
    """Return the terms of log B, (k,), to be summed over the images of a caption.

    Args:
        p_mismatch: (k,) probability pi r of a random mismatch, of pairs of repeated captions.
        share: pi.
        images: (k,) number n >= 2 of images that the pair's caption has.
    """
    n = np.asarray(images, np.float64)
    ratio = np.minimum(p_mismatch, _MOST) / share
    return np.asarray(np.log((1 - 1 / n) * ratio + 1 / n))


def pasted_prior(log_bayes: Values, rounds: int = 50) -> float:
    """Return rho, the share of pasted captions among repeated ones, from the log B (g,) of each."""
    prior = 0.5
    for _ in range(rounds):
        prior = (
            float(np.clip(expit(log_bayes + logit(prior)).mean(), 1e-4, 1 - 1e-4)) if len(log_bayes) else 0.5
        )
    return prior


def pasted_probability(log_bayes: Values, prior: float) -> Values:
    """Return P(pasted) of each caption, (g,)."""
    return np.asarray(expit(log_bayes + logit(prior)))


def rest_shift(log_odds: Values, share: float, rounds: int = 100) -> float:
    """Return what to add to the log odds of captions that occur once.

    The share pi holds for all pairs. Where pasted captions account for some of it, less is left for the
    others, whose own share is the fixed point of the mean of their probabilities.

    Args:
        log_odds: (k,) of a random mismatch, of pairs whose caption has one image.
        share: pi, in (0, 1).
        rounds: towards the fixed point.

    References:
        Saerens, Latinne and Decaestecker, Neural Computation 2002.
    """
    if len(log_odds) == 0:
        return 0.0
    start = float(logit(share))
    prior = share
    for _ in range(rounds):
        prior = float(np.clip(expit(log_odds + logit(prior) - start).mean(), 1e-6, 1 - 1e-6))
    return float(logit(prior)) - start


def mismatch_log_odds(
    log_odds: Values, pasted: Values, share: Values | float, images: npt.ArrayLike, shift: float = 0.0
) -> Values:
    """Return the log odds that a pair is wrong, its caption's group included, (k,).

    Args:
        log_odds: (k,) of a random mismatch, by the pair alone.
        pasted: (k,) P(pasted) of its caption; 0 where it occurs once.
        share: pi.
        images: (k,) number of images that its caption has.
        shift: of :func:`rest_shift`.
    """
    n = np.maximum(np.asarray(images, np.float64), 1.0)
    alone = log_odds + shift
    # of wrong within a pasted caption: those of the pair, with the prior odds of pi replaced by n - 1
    with np.errstate(divide="ignore"):
        inside = log_odds - logit(np.clip(share, 1e-6, 1 - 1e-6)) + np.log(n - 1)
    wrong = pasted * expit(inside) + (1 - pasted) * expit(alone)
    right = pasted * expit(-inside) + (1 - pasted) * expit(-alone)
    return np.asarray(np.log(wrong) - np.log(right))
