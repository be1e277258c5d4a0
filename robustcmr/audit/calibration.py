"""All that judging a pair takes beside its own vectors: fitted on a sample, saved, and used on any part.

The sample's pairs and pairs mismatched on purpose fit the line of the evidence and the curve of its log odds,
one for pairs whose image has no other caption and one for the rest. With heads (:mod:`robustcmr.audit.deep`)
the vectors of a pair first pass the head that was not trained on its image.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from robustcmr.audit.curve import Curve, fit_curve, near_bound
from robustcmr.audit.evidence import Features, Line, Values, agreement, evidence, fit_line
from robustcmr.audit.heads import Space, features_in
from robustcmr.audit.nulls import (
    Exchange,
    by_captions,
    one_row_an_image,
    partners_of_near_captions,
    partners_of_near_images,
    random_partners,
)
from robustcmr.audit.similarity import REFERENCES, Reference, other_captions, unit
from robustcmr.errors import DataError
from robustcmr.types import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]

LEAST_PAIRS = 200
"""Fewer pairs are not judged."""
LEAST_IMAGES = 100
"""Fewer different images, or captions, give no random partners."""
MOST_PAIRS = 200_000
"""Pairs of a sample that are used."""

QUANTILES = 1000
"""Numbers that show how scores of pairs mismatched on purpose are distributed."""

_LEAST_SHARED = 1000  # pairs whose image has other captions, for these to be used
_MOST_RANDOM, _MOST_NEAR = 20_000, 2_000
_NEIGHBOURS_AMONG = 50_000
_HOPELESS = 0.97  # share of pairs that look random
_LEAST_NEAR = 50  # near partners, for a bound
_LINE_FITS = 3  # alternations of the line of both features and the agreement, which depends on it


@dataclass(frozen=True)
class Sample:
    """Pairs that a calibration is fitted on.

    Attributes:
        images: (n, D) float32 unit vectors, one a pair.
        texts: (n, D) likewise.
        image_codes: (n,) equal for pairs of the same image.
        caption_codes: (n,) equal for pairs of the same caption.
    """

    images: FloatArray
    texts: FloatArray
    image_codes: IntArray
    caption_codes: IntArray

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: IntArray) -> Sample:
        return Sample(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Model:
    """Line and curve of pairs without (``alone``) and with other captions of the same image (``both``)."""

    alone: Line
    alone_curve: Curve
    both: Line | None
    both_curve: Curve | None


@dataclass(frozen=True)
class NoiseRate:
    """Estimated share of mismatches and what can be claimed of it.

    Attributes:
        value: share of pairs that look randomly mismatched.
        low: lower end of its 95% interval.
        high: upper end.
        near: share of the other pairs that may be near misses, at most, as far as near partners show them.
        says: both as sentences.
    """

    value: float
    low: float
    high: float
    near: float
    says: str


@dataclass(frozen=True)
class Judged:
    """What a part's pairs look like; all (n,) float32.

    Attributes:
        similarity: s, see :mod:`robustcmr.audit.similarity`.
        agreement: c; NaN where the image has no other caption.
        log_odds: of a random mismatch, with the ends of its interval.
        low: lower end.
        high: upper end.
    """

    similarity: FloatArray
    agreement: FloatArray
    log_odds: FloatArray
    low: FloatArray
    high: FloatArray


def draw_reference(sample: Sample, rng: np.random.Generator) -> Reference:
    """Draw distinct images and captions, and sums of captions of images that have several."""
    image_rows = one_row_an_image(sample.image_codes, REFERENCES, rng)
    text_rows = one_row_an_image(sample.caption_codes, REFERENCES, rng)
    centres = np.empty((0, sample.texts.shape[1]), np.float32)
    _, groups, counts = np.unique(sample.image_codes, return_inverse=True, return_counts=True)
    if (counts[groups] > 1).sum() >= _LEAST_SHARED:
        ones = np.ones(len(sample), np.float32)
        all_captions = other_captions(sample.texts, sample.image_codes, ones) + sample.texts
        shared = np.flatnonzero(counts[groups] > 1)
        picked = shared[one_row_an_image(sample.image_codes[shared], REFERENCES, rng)]
        centres = unit(all_captions[picked])
    return Reference(sample.images[image_rows], sample.texts[text_rows], centres)


@dataclass(frozen=True)
class Calibration:
    """Judges the pairs of any part.

    Attributes:
        spaces: one, or one a fold.
        model: lines and curves.
        rate: what the sample shows of the whole.
        pairs: of the sample.
        seed: of the sample and of the pairs mismatched on purpose.
        random: quantiles of the scores of pairs with random partners, ascending, at most ``QUANTILES``.
        near: likewise with near partners; empty where there are none.
    """

    spaces: tuple[Space, ...]
    model: Model
    rate: NoiseRate
    pairs: int
    seed: int
    random: Values = field(default_factory=lambda: np.empty(0))
    near: Values = field(default_factory=lambda: np.empty(0))

    @property
    def width(self) -> int:
        """D, numbers in a vector."""
        return int(self.spaces[0].reference.images.shape[1])

    @property
    def folds(self) -> int:
        """Number of folds of images; 1 without heads."""
        return len(self.spaces)

    def judge(
        self,
        images: FloatArray,
        texts: FloatArray,
        image_codes: IntArray,
        folds: IntArray,
        device: str = "cpu",
    ) -> Judged:
        """Judge the pairs of a part; the order of its rows does not matter.

        Args:
            images: (n, D) unit vectors, one a pair.
            texts: (n, D) unit vectors.
            image_codes: (n,) equal for pairs of the same image; only captions in the part see each other.
            folds: (n,) fold of each pair's image, in 0 .. ``folds`` - 1.
            device: of torch.
        """
        found = features_in(self.spaces, images, texts, image_codes, folds, device)
        agree = _agreement(found, self.model)
        odds, low, high = _log_odds(found.similarity, agree, self.model)
        return Judged(found.similarity, agree, *(x.astype(np.float32) for x in (odds, low, high)))


def _agreement(found: Features, model: Model) -> FloatArray:
    if model.both is None:
        return np.full(len(found.similarity), np.nan, np.float32)
    return agreement(found, model.alone, model.both)


def _log_odds(similarity: FloatArray, agree: FloatArray, model: Model) -> tuple[Values, Values, Values]:
    values = evidence(similarity, agree, model.alone, model.both)
    found = np.stack(model.alone_curve(values))  # (3, n)
    known = ~np.isnan(agree)
    if model.both_curve is not None and known.any():
        found[:, known] = np.stack(model.both_curve(values[known]))
    return found[0], found[1], found[2]


def fit_calibration(
    sample: Sample, seed: int = 0, spaces: tuple[Space, ...] | None = None, folds: IntArray | None = None
) -> Calibration:
    """Fit a calibration to a sample of the pairs, without labels.

    Args:
        sample: random pairs; captions of one image should come together.
        seed: of the reference and of the pairs mismatched on purpose.
        spaces: of trained heads, one a fold; the vectors as given where None.
        folds: (n,) fold of each pair's image; None without heads.

    Raises:
        DataError: there are too few pairs, images or captions, all vectors are equal, or given pairs fit no
            better than random ones.
    """
    if len(sample) < LEAST_PAIRS:
        raise DataError(
            f"there are {len(sample):,} sound pairs with vectors, expected at least {LEAST_PAIRS} to tell "
            "right ones from wrong ones; judge these by eye, or add more pairs"
        )
    rng = np.random.default_rng([seed, 20])
    spaces = spaces or (Space(None, draw_reference(sample, rng)),)
    folds = np.zeros(len(sample), np.int64) if folds is None else folds
    found = features_in(spaces, sample.images, sample.texts, sample.image_codes, folds)
    if float(found.similarity.std()) < 1e-7:
        raise DataError(
            "the vectors of all pairs are equal; make them again, as no pair can be judged by them"
        )
    tried = _Strangers(sample, spaces, folds, found)
    rows = one_row_an_image(sample.image_codes, _MOST_RANDOM, rng)
    exchange = random_partners(rows, sample.image_codes, sample.caption_codes, folds, rng)
    if len(exchange.rows) < LEAST_IMAGES or len(np.unique(sample.caption_codes)) < LEAST_IMAGES:
        raise DataError(
            f"the pairs show {len(rows):,} different images and {len(np.unique(sample.caption_codes)):,} "
            f"captions, expected at least {LEAST_IMAGES} of each to compare with random partners; check "
            "which columns hold image and caption"
        )
    random = tried.features(exchange)
    near = [tried.features(exchange) for exchange in _near(sample, rng)]
    model = _fit_model(found, random)
    rate = _rate(found, random, near, model)
    if rate.value > _HOPELESS or min(model.alone.weights) <= 0:
        raise DataError(
            "the given pairs fit no better than random ones, so nothing can be said of single pairs; check "
            "that the vectors of images and captions come from one model and belong to these pairs"
        )
    nulls = tuple(_quantiles([_scores(one, model) for one in kind]) for kind in ([random], near))
    return Calibration(spaces, model, rate, len(sample), seed, *nulls)


def _scores(exchanged: _Exchanged, model: Model) -> Values:
    """Return the log odds of being right of the exchanged pairs, (k,)."""
    odds, _, _ = _log_odds(exchanged.found.similarity, _agreement(exchanged.found, model), model)
    return np.asarray(-odds[exchanged.rows])


def _quantiles(scores: list[Values]) -> Values:
    """Return evenly spaced quantiles of scores of one kind."""
    every = np.concatenate(scores) if scores else np.empty(0)
    if not len(every):
        return every
    return np.quantile(every, np.linspace(0, 1, min(len(every), QUANTILES)))


def _near(sample: Sample, rng: np.random.Generator) -> list[Exchange]:
    """Partners of near images and of near captions, found among a part of the sample."""
    rows = np.arange(len(sample))
    if len(sample) > _NEIGHBOURS_AMONG:
        chosen = np.unique(sample.image_codes[rng.choice(len(sample), _NEIGHBOURS_AMONG // 2, replace=False)])
        rows = np.flatnonzero(np.isin(sample.image_codes, chosen))
    part = sample[rows]
    asked = one_row_an_image(part.image_codes, _MOST_NEAR, rng)
    codes = part.image_codes, part.caption_codes
    found = (
        partners_of_near_images(asked, part.images, *codes),
        partners_of_near_captions(asked, part.texts, *codes),
    )
    return [Exchange(rows[one.rows], rows[one.partners]) for one in found]


@dataclass(frozen=True)
class _Exchanged:
    """Features of the sample with some captions exchanged, and these rows, see ``by_captions``."""

    found: Features
    rows: IntArray


@dataclass(frozen=True)
class _Strangers:
    """Puts other captions in place of given ones."""

    sample: Sample
    spaces: tuple[Space, ...]
    folds: IntArray
    found: Features

    def features(self, exchange: Exchange) -> _Exchanged:
        """Return the features with the captions of ``exchange`` in place."""
        rows, sample = exchange.rows, self.sample
        changed = features_in(
            self.spaces,
            sample.images[rows],
            sample.texts[exchange.partners],
            sample.image_codes[rows],
            self.folds[rows],
        )
        made: dict[str, FloatArray] = {}
        for name in ("similarity", "texts", "text_background"):
            made[name] = getattr(self.found, name).copy()
            if len(made[name]):
                made[name][rows] = getattr(changed, name)
        features = Features(image_codes=self.found.image_codes, **made)
        return _Exchanged(features, by_captions(rows, sample.image_codes))


def _fit_model(found: Features, random: _Exchanged) -> Model:
    given_s = found.similarity[:, None].astype(np.float64)
    random_s = random.found.similarity[random.rows][:, None].astype(np.float64)
    alone, _, _ = fit_line(given_s, random_s)
    both = None
    if len(found.text_background):
        for _ in range(_LINE_FITS):
            given, known = _pairs_of_features(found, alone, both)
            strange, their = _pairs_of_features(random.found, alone, both)
            their = their[random.rows]
            belief = expit(alone(given[:, :1]) if both is None else both(given))
            both, _, _ = fit_line(given[known], strange[random.rows][their], belief[known])
    agree = np.full(len(given_s), np.nan, np.float32)
    their_agree = np.full(len(given_s), np.nan, np.float32)
    if both is not None:
        agree, their_agree = (agreement(one, alone, both) for one in (found, random.found))
    known, their = ~np.isnan(agree), ~np.isnan(their_agree)[random.rows]
    single, their_single = (
        (~known, ~their) if (~known).sum() >= _LEAST_SHARED else (known | True, their | True)
    )
    alone_curve = fit_curve(alone(given_s[single]), alone(random_s[their_single]))
    both_curve = None
    if both is not None:
        e_given = evidence(found.similarity, agree, alone, both)[known]
        e_random = evidence(random.found.similarity, their_agree, alone, both)[random.rows][their]
        both_curve = fit_curve(e_given, e_random)
    return Model(alone, alone_curve, both, both_curve)


def _pairs_of_features(found: Features, alone: Line, both: Line | None) -> tuple[Values, BoolArray]:
    agree = agreement(found, alone, both)
    return np.stack([found.similarity, agree], axis=1).astype(np.float64), ~np.isnan(agree)


def _rate(found: Features, random: _Exchanged, near: list[_Exchanged], model: Model) -> NoiseRate:
    """Combine the shares of pairs with and without other captions of their image."""
    agree = _agreement(found, model)
    known = ~np.isnan(agree)
    values = evidence(found.similarity, agree, model.alone, model.both)
    parts = [(~known, model.alone_curve)] + ([(known, model.both_curve)] if model.both_curve else [])
    total = dict.fromkeys(("value", "low", "high", "near"), 0.0)
    for rows, curve in parts:
        if not rows.any():
            continue
        weight, share = float(rows.mean()), curve.share
        bound = 0.0
        for exchanged in near:
            its = _of(exchanged, model, known=curve is model.both_curve)
            theirs = _of(random, model, known=curve is model.both_curve)
            if len(its) >= _LEAST_NEAR and len(theirs):
                bound = max(bound, near_bound(values[rows], theirs, its, share))
        for name, value in zip(total, (share.value, share.low, share.high, bound), strict=True):
            total[name] += weight * value
    return _said(**total)


def _of(exchanged: _Exchanged, model: Model, known: bool) -> Values:
    """Evidence of the exchanged pairs whose image has other captions, or has none."""
    agree = _agreement(exchanged.found, model)
    values = evidence(exchanged.found.similarity, agree, model.alone, model.both)[exchanged.rows]
    return np.asarray(values[~np.isnan(agree)[exchanged.rows] == known])


def _said(value: float, low: float, high: float, near: float) -> NoiseRate:
    rest = min(1.0, near / max(1 - value, 1e-9))
    says = (
        f"looks randomly mismatched: {_percent(value)} ({_percent(low)} to {_percent(high)}); "
        f"of the rest, up to {_percent(rest)} may be near misses, which these vectors cannot rule out"
    )
    return NoiseRate(value, low, high, rest, says)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
