"""Base of methods for noisy class labels: class anchors and the class estimates from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.correction.class_centres import class_means
from robustcmr.losses.class_anchors import anchor_probabilities
from robustcmr.matchers.base import Matcher, pooled_vectors
from robustcmr.methods.base import Method, Scorer
from robustcmr.types import LabelEstimate, LabelledVectors, PairBatch

_LEAST = 1e-12
"""Replaces a probability of 0 inside the logarithm."""


class ClassAnchors(nn.Module):
    """One learned unit vector a class, initially orthogonal if K <= D.

    Args:
        n_classes: K.
        width: D, length of a vector.
    """

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, width))
        nn.init.orthogonal_(self.weight)

    def forward(self) -> Tensor:
        """The anchors, (K, D) of length 1."""
        return F.normalize(self.weight, dim=1)


class ClassCentres(ClassAnchors):
    """One vector a class, the mean of given members, which is set and not learned."""

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__(n_classes, width)
        self.weight.requires_grad_(False)

    def forward(self) -> Tensor:
        """The centres, (K, D) of length at most 1."""
        return self.weight

    @torch.no_grad()
    def update(self, images: Tensor, texts: Tensor, labels: Tensor) -> None:
        """Set the centres to the means of image and text vectors (N, D) by label (N, 1 or 2)."""
        self.weight.copy_(class_means(images, texts, labels, len(self.weight)))


class LabelMethod(Method):
    """A method for image-text pairs some of whose classes are wrong; compares vectors with class anchors.

    Built as ``cls(config, matchers, n_pairs, batch_size, n_classes, width)``.

    Args:
        config: the method's own options.
        matchers: one matcher that gives a pooled vector of each image and text.
        n_pairs: number of given training pairs N.
        batch_size: largest number of pairs B of a batch.
        n_classes: K, number of classes.
        width: D, length of a pooled vector.
    """

    track: ClassVar[str] = "labels"

    def __init__(
        self,
        config: Any,
        matchers: Sequence[Matcher],
        n_pairs: int,
        batch_size: int,
        n_classes: int,
        width: int,
    ) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        self.n_classes = n_classes
        self.anchors = ClassAnchors(n_classes, width)

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """The class anchors."""
        return {"anchors": self.anchors}

    @property
    def temperature(self) -> float:
        """Temperature of class probabilities, in units of the cosine."""
        return float(self.config.temperature)

    def encode(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Return unit vectors of a batch's images and texts, (B, D) each, at least float32."""
        sides = (self.matcher.encode_images(batch.images), self.matcher.encode_texts(batch.texts))
        images, texts = (F.normalize(pooled_vectors(side).float(), dim=1) for side in sides)
        return images, texts

    def given_targets(self, batch: PairBatch, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the given classes of a batch's images and of its texts, (B, K) of zeros and ones each."""
        images, texts = (F.one_hot(labels, self.n_classes).to(like) for labels in given_classes(batch))
        return images, texts

    def estimate(self, scorer: Scorer) -> LabelEstimate:
        """The most likely class by images and texts together, without the given labels."""
        return self.estimated(scorer.vectors(self.matcher))

    def estimated(self, found: LabelledVectors) -> LabelEstimate:
        """The estimate from the vectors of the training set."""
        with torch.no_grad():
            anchors = self.anchors()
            images, texts = (
                anchor_probabilities(F.normalize(side, dim=1), anchors, self.temperature)
                for side in (found.images, found.texts)
            )  # (N, K) each
        return label_estimate((images + texts) / 2, found)


def given_classes(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Return the given classes of a batch's images and of its texts, (B,) int64 each.

    Raises:
        ValueError: the pairs carry no class.
    """
    if batch.labels is None:
        raise ValueError(
            "these pairs have no classes; expected data of the labels track, such as --data scenes-labels"
        )
    return batch.labels[:, 0], batch.labels[:, -1]


def label_estimate(probabilities: Tensor, found: LabelledVectors) -> LabelEstimate:
    """Turn class probabilities into estimated classes and evidence against the given ones.

    Args:
        probabilities: (N, K) >= 0, rows summing to 1.
        found: the training set with its given classes.

    Returns:
        The most likely class, its probability, and as evidence -log of the least probability among the pair's
        given classes.
    """
    double = probabilities.detach().double()
    confidence, corrected = double.max(dim=1)
    given = double.gather(1, found.labels).amin(dim=1)  # (N,)
    return LabelEstimate(
        corrected.cpu().numpy().astype(np.int64),
        confidence.clamp(max=1.0).cpu().numpy(),
        -given.clamp(min=_LEAST).log().cpu().numpy(),
    )
