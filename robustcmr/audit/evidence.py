"""Evidence that a pair fits: a line through its similarity and its agreement with the image's other captions.

    e = w . (s, c) + b,        log f_given(e) - log f_random(e) grows with e

The line separates given pairs from the same images with random captions. A given pair weighs as much as it
is believed, and what is believed follows from e; so the fit alternates between the two, as EM does. In a
part, the weights of an image's other captions start from s alone and are refined by e; their number of rounds
is fixed, so that a caption put beside an image on purpose is treated exactly as a given one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from robustcmr.audit.similarity import (
    Reference,
    background,
    caption_agreement,
    normalised_similarity,
    other_captions,
)
from robustcmr.types import FloatArray, IntArray

Values = npt.NDArray[np.float64]

ROUNDS = 3
"""Times that the weights of an image's captions are refined."""

_FITS = 6  # alternations of line and beliefs


@dataclass(frozen=True)
class Line:
    """Evidence as a line of features: ``features @ weights + bias``, in log odds up to a constant."""

    weights: tuple[float, ...]
    bias: float

    def __call__(self, features: npt.ArrayLike) -> Values:
        """(n, F) -> (n,)."""
        return np.asarray(np.asarray(features, np.float64) @ np.array(self.weights) + self.bias)


@dataclass(frozen=True)
class Features:
    """What a part says of its pairs before any belief.

    Attributes:
        similarity: s, (n,).
        texts: (n, D) unit vectors.
        text_background: (n,) of the texts against the centres; empty where other captions are not used.
        image_codes: (n,).
    """

    similarity: FloatArray
    texts: FloatArray = field(repr=False)
    text_background: FloatArray = field(repr=False)
    image_codes: IntArray = field(repr=False)


def features(
    images: FloatArray, texts: FloatArray, image_codes: IntArray, reference: Reference, device: str = "cpu"
) -> Features:
    """Return the features of a part: images (n, D) and texts (n, D), unit vectors of its pairs."""
    centred = len(reference.centres) > 0
    return Features(
        normalised_similarity(images, texts, reference, device),
        texts,
        background(texts, reference.centres, device) if centred else np.empty(0, np.float32),
        image_codes,
    )


def agreement(found: Features, alone: Line, both: Line | None) -> FloatArray:
    """Return c of every pair, (n,): NaN where an image has no other caption.

    Args:
        found: of the part.
        alone: the line of s, from which the first weights follow.
        both: the line of s and c, from which those of later rounds follow; None for the first round only.
    """
    weights = expit(alone(found.similarity[:, None]))
    agree = np.full(len(weights), np.nan, np.float32)
    for _ in range(1 if both is None else ROUNDS):
        others = other_captions(found.texts, found.image_codes, weights.astype(np.float32))
        agree = caption_agreement(found.texts, others, found.text_background)
        weights = expit(evidence(found.similarity, agree, alone, both))
    return agree


def evidence(similarity: FloatArray, agree: FloatArray, alone: Line, both: Line | None) -> Values:
    """Return e, (n,): by both features where the image has other captions, by s alone elsewhere."""
    single = alone(similarity[:, None])
    if both is None:
        return single
    known = ~np.isnan(agree)
    single[known] = both(np.stack([similarity[known], agree[known]], axis=1))
    return single


def fit_line(given: Values, random: Values, belief: Values | None = None) -> tuple[Line, float, Values]:
    """Fit the line that separates given pairs from pairs mismatched on purpose.

    Args:
        given: (n, F) features of given pairs, some of which are wrong.
        random: (m, F) features of pairs with random partners.
        belief: (n,) first belief in each given pair; all are believed where None.

    Returns:
        The line with its zero where a pair is as likely right as random, the share of given pairs that look
        random, and the belief in each given pair.
    """
    belief = np.ones(len(given)) if belief is None else belief
    both = np.concatenate([given, random])
    centre, scale = both.mean(axis=0), both.std(axis=0) + 1e-12
    target = np.r_[np.ones(len(given)), np.zeros(len(random))]
    line, share = Line((0.0,) * given.shape[1], 0.0), 0.0
    for _ in range(_FITS):
        weights = np.r_[belief, np.full(len(random), belief.sum() / len(random))]
        model = LogisticRegression(C=10.0, max_iter=200).fit((both - centre) / scale, target, weights)
        slopes = model.coef_[0] / scale
        line = Line(tuple(slopes.tolist()), float(model.intercept_[0] - slopes @ centre))
        share = lower_half_share(line(given), line(random))
        # the prior odds move the zero; a share of 0 or 1 would stop the next round
        prior = np.clip(share, 0.005, 0.95)
        line = Line(line.weights, line.bias + float(np.log((1 - prior) / prior)))
        belief = expit(line(given))
    return line, share, belief


def lower_half_share(given: Values, random: Values) -> float:
    """Return twice the share of given pairs below the median of random ones: hardly a right pair is there."""
    return min(1.0, 2 * float(np.mean(given <= np.median(random))))
