"""Partners of suspected captions: images of the whole training set that they may be true of, drawn anew.

What speaks for image x as a partner of caption y is the sum of three signs:

    s(x, y) = z(t(y) . v(x)) + z(l(x, y)) + c log(m(x, y) + d mean_x m)

- t and v are the vectors of a matcher, such as a teacher's;
- l is a :class:`~robustcmr.selection.linear_model.LinearModel` of the believed pairs, which errs otherwise;
- m(x, y) sums, over the believed captions y' of x, their belief times exp((t(y).t(y') + w(y).w(y')) /
  ``HEAT``), with w the words of :func:`~robustcmr.selection.caption_words.rare_words`: captions of one image
  speak alike.

z standardises over the images. A partner is drawn from the softmax of s / ``TEMPERATURE`` over the best
``CANDIDATES``, so that images that fit alike take turns. Where most pairs are wrong, few partners are the
right image; most are like it, which is what learning from them lives on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.selection.linear_model import LEAST_WEIGHT, ImageFeatures, LinearModel, pair_sums, texts_of
from robustcmr.selection.normalise import Values
from robustcmr.types import IntArray, PairContents, PairVectors

CANDIDATES, TEMPERATURE = 32, 0.8
MOST_IMAGES = 8192
"""Images, and believed captions, among which partners are sought; of larger data a new sample each time."""
HEAT, SIBLINGS, FLOOR = 0.1, 0.2, 10.0
"""Temperature of m, its weight c, and its floor d, for images without a believed caption."""
_ROWS = 512
_TINY = 1e-9


def draw_partners(
    contents: PairContents,
    vectors: PairVectors,
    belief: Values,
    suspected: IntArray,
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
) -> IntArray:
    """Draw a pair for each suspected caption: the one whose given image it may be true of.

    Args:
        contents: of N pairs.
        vectors: of the same pairs, by a matcher.
        belief: (N,) in 0..1, how surely each pair is clean; those above 0.5 speak for their images.
        suspected: (n,) pairs whose captions seek an image; never the one they were given.
        rng: draws.
        device: where the scores are computed.

    Returns:
        (n,) int64, pair ids; a caption without any other image keeps its own pair.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> import numpy as np, torch
        >>> from robustcmr.correction import draw_partners
        >>> from robustcmr.selection import rare_words
        >>> from robustcmr.types import PairContents, PairVectors
        >>> rng = np.random.default_rng(0)
        >>> topic = np.arange(60) % 3  # of each image; its caption is one word
        >>> image_of = np.r_[np.arange(50), np.roll(np.arange(50, 60), 1)]  # the last ten are wrong
        >>> unit = torch.eye(3)[torch.from_numpy(topic)].half()
        >>> words = rare_words(np.arange(60), topic, 60)
        >>> contents = PairContents(words, unit, image_of, np.roll(np.arange(60), 1))
        >>> belief = (np.arange(60) < 50).astype(float)
        >>> drawn = draw_partners(contents, PairVectors(unit, unit), belief, np.arange(50, 60), rng)
        >>> bool((topic[image_of[drawn]] == topic[50:]).all())
        True

    References:
        Dwibedi et al., With a little help from my friends, ICCV 2021, for positives among neighbours.
    """
    drawn, pair_of, start = suspected.copy(), _pair_of(contents), 0
    for images, chances in _chances(contents, vectors, belief, suspected, rng, device):
        place = (chances.cumsum(1) < rng.random((len(images), 1)) * chances.sum(1, keepdims=True)).sum(1)
        found = images[np.arange(len(images)), np.minimum(place, images.shape[1] - 1)]
        drawn[start : start + len(found)] = pair_of[found]
        start += len(found)
    return drawn


def partner_chances(
    contents: PairContents,
    vectors: PairVectors,
    belief: Values,
    suspected: IntArray,
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
) -> tuple[IntArray, Values]:
    """Return the images that :func:`draw_partners` draws from, (n, k), best first, and their chances (n, k).

    The arguments are the same; ``rng`` draws the sample of larger data. There may be no images: k is then 0.
    """
    found = list(_chances(contents, vectors, belief, suspected, rng, device))
    if not found:
        return np.empty((len(suspected), 0), np.int64), np.empty((len(suspected), 0))
    images, chances = zip(*found, strict=True)
    return np.concatenate(images), np.concatenate(chances)


def _pair_of(contents: PairContents) -> IntArray:
    """(n images,) a pair that has the image, -1 where none has."""
    found = np.full(len(contents.features), -1, dtype=np.int64)
    found[contents.image_of] = np.arange(len(contents.image_of))
    return found


def _chances(
    contents: PairContents,
    vectors: PairVectors,
    belief: Values,
    suspected: IntArray,
    rng: np.random.Generator,
    device: torch.device | str,
) -> Iterator[tuple[IntArray, Values]]:
    """Yield images and chances of a block of captions; nothing where there is no other image."""
    n = len(contents.image_of)
    if belief.shape != (n,) or len(vectors.texts) != n or len(vectors.images) != len(contents.features):
        raise ValueError(
            f"expected beliefs and text vectors of {n} pairs and vectors of {len(contents.features)} images, "
            f"got {belief.shape}, {len(vectors.texts)} and {len(vectors.images)}"
        )
    images = _some(np.flatnonzero(_pair_of(contents) >= 0), rng)
    if len(images) < 2 or not len(suspected):
        return
    signs = _Signs(contents, vectors, belief, images, rng, torch.device(device))
    for start in range(0, len(suspected), _ROWS):
        rows = suspected[start : start + _ROWS]
        scores, given = signs.of(rows), signs.place[contents.image_of[rows]]  # (k, K), (k,)
        scores[np.flatnonzero(given >= 0), given[given >= 0]] = -torch.inf
        best = scores.topk(min(CANDIDATES, len(images) - 1), dim=1)
        yield (
            images[best.indices.cpu().numpy()],
            torch.softmax(best.values / TEMPERATURE, dim=1).double().cpu().numpy(),
        )


class _Signs:
    """What speaks for some images (K,) as partners of captions."""

    def __init__(
        self,
        contents: PairContents,
        vectors: PairVectors,
        belief: Values,
        images: IntArray,
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        self.contents, self.vectors, self.device = contents, vectors, device
        self.texts, features = texts_of(contents), ImageFeatures(contents.features)
        sums = pair_sums(self.texts, features, contents.image_of, np.maximum(belief, LEAST_WEIGHT))
        typical = np.sort(rng.permutation(len(belief))[:MOST_IMAGES])
        self.model = LinearModel(sums, self.texts[typical], features)
        by_matcher = self.vectors.images[torch.from_numpy(images)].to(device).float()  # (K, D)
        by_features = self._to_device(self.model.of_images(images))  # (K, Q + 1)
        self.covariances = [
            torch.cov(seen.T).reshape(seen.shape[1], -1) for seen in (by_matcher, by_features)
        ]
        self.seen = torch.cat([by_matcher, by_features], 1).T.contiguous()  # (D + Q + 1, K)
        self.place = place = np.full(len(contents.features), -1, dtype=np.int64)  # of each image among them
        place[images] = np.arange(len(images))
        self.keys = _some(np.flatnonzero((belief > 0.5) & (place[contents.image_of] >= 0)), rng)
        self.keys = self.keys[np.argsort(place[contents.image_of[self.keys]], kind="stable")]  # by image
        counts = np.bincount(place[contents.image_of[self.keys]], minlength=len(images))
        self.key_counts = torch.from_numpy(counts).to(device)  # (K,) believed captions of each image
        self.key_texts = vectors.texts[torch.from_numpy(self.keys)].to(device).float()  # (n keys, D)
        self.key_words = contents.words[self.keys]
        self.key_belief = self._to_device(belief[self.keys][:, None])

    def of(self, rows: IntArray) -> Tensor:
        """(k, K) of the captions of some pairs, each up to a number that is the same for all images."""
        texts = self.vectors.texts[torch.from_numpy(rows)].to(self.device).float()
        sides = texts, self._to_device(self.model.of_texts(self.texts[rows]))
        scaled = [
            side / ((side @ covariance) * side).sum(1, keepdim=True).clamp(min=_TINY).sqrt()
            for side, covariance in zip(sides, self.covariances, strict=True)
        ]
        found = torch.cat(scaled, 1) @ self.seen
        if len(self.keys):
            alike = self._to_device((self.key_words @ self.contents.words[rows].T).toarray())
            alike += self.key_texts @ texts.T  # (n keys, k)
            weights = alike.sub_(alike.amax(0)).div_(HEAT).exp_().mul_(self.key_belief)
            # sums in a fixed order on every device, so that all processes draw the same
            spoken = torch.segment_reduce(weights, "sum", lengths=self.key_counts, axis=0)  # (K, k)
            found += SIBLINGS * spoken.add_(FLOOR * spoken.mean(0)).log_().T
        return found

    def _to_device(self, values: Any) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.device)


def _some(rows: IntArray, rng: np.random.Generator) -> IntArray:
    """Return at most ``MOST_IMAGES`` of them, ascending."""
    return rows if len(rows) <= MOST_IMAGES else np.sort(rng.choice(rows, MOST_IMAGES, replace=False))
