"""What methods for noisy class labels share: class anchors, and what the anchors say of every pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.losses.class_anchors import anchor_probabilities
from robustcmr.matchers.base import Matcher, pooled_vectors
from robustcmr.methods.base import Method, Scorer
from robustcmr.types import LabelEstimate, LabelledVectors, PairBatch

_LEAST = 1e-12
"""What stands in for a probability of 0 where its logarithm is evidence."""


class ClassAnchors(nn.Module):
    """One unit vector a class, learnt, orthogonal at first where there is room.

    Args:
        n_classes: K.
        width: D, numbers of a vector.
    """

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, width))
        nn.init.orthogonal_(self.weight)

    def forward(self) -> Tensor:
        """The anchors, (K, D) of length 1."""
        return F.normalize(self.weight, dim=1)


class LabelMethod(Method):
    """A way of learning from image-text pairs of which some carry a wrong class.

    Built as ``cls(config, matchers, n_pairs, batch_size, n_classes, width)``. Vectors of the matcher are
    compared with learnt class anchors.

    Args:
        config: the method's own options.
        matchers: one matcher that gives a pooled vector of each image and text.
        n_pairs: number of given training pairs N.
        batch_size: largest number of pairs B of a batch.
        n_classes: K, number of classes.
        width: D, numbers of a pooled vector.
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
        """Vectors of a batch's images and texts, (B, D) each, of length 1 and at least float32."""
        matcher = self.matchers[0]
        sides = (matcher.encode_images(batch.images), matcher.encode_texts(batch.texts))
        images, texts = (F.normalize(pooled_vectors(side).float(), dim=1) for side in sides)
        return images, texts

    def estimate(self, scorer: Scorer) -> LabelEstimate:
        """The class that images and texts together are nearest to, whatever was given."""
        found = scorer.vectors(self.matchers[0])
        with torch.no_grad():
            anchors = self.anchors()
            images, texts = (
                anchor_probabilities(F.normalize(side, dim=1), anchors, self.temperature)
                for side in (found.images, found.texts)
            )  # (N, K) each
        return label_belief((images + texts) / 2, found)


def given_classes(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """(B,) int64 given classes of a batch's images and of its texts; the same where they share one.

    Raises:
        ValueError: the pairs carry no class.
    """
    if batch.labels is None:
        raise ValueError("these pairs carry no classes; expected data of the labels track")
    return batch.labels[:, 0], batch.labels[:, -1]


def label_belief(probabilities: Tensor, found: LabelledVectors) -> LabelEstimate:
    """What class probabilities say of every pair.

    Args:
        probabilities: (N, K) >= 0, rows summing to 1.
        found: the training set, of which the given classes are read.

    Returns:
        The likeliest class, its probability, and minus the logarithm of the least probability among the
        pair's given classes as evidence against them.
    """
    double = probabilities.detach().double()
    confidence, corrected = double.max(dim=1)
    given = double.gather(1, found.labels).amin(dim=1)  # (N,)
    return LabelEstimate(
        corrected.cpu().numpy().astype(np.int64),
        confidence.clamp(max=1.0).cpu().numpy(),
        -given.clamp(min=_LEAST).log().cpu().numpy(),
    )
