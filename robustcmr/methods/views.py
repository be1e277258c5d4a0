"""A second view of a matcher's pairs: the cosine of its item vectors, mapped by networks of their own."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.matchers.base import Matcher, item_vectors
from robustcmr.matchers.encoders.layers import wide, xavier
from robustcmr.types import Fragments, ImageBatch, TextBatch


class SecondView(nn.Module):
    """Cosine of item vectors, mapped by a linear map plus a small network a modality.

    Args:
        width: D, width of an item vector.
        dim: width of the common space, and of the hidden layers.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.images, self.texts = _Map(width, dim), _Map(width, dim)

    def forward(self, images: Fragments, texts: Fragments) -> Tensor:
        """Return the cosine of every image with every caption, (N_images, N_texts), at least float32."""
        with torch.autocast(images.features.device.type, enabled=False):
            of_images = self.images(wide(item_vectors(images)))
            of_texts = self.texts(wide(item_vectors(texts)))
            return cast(Tensor, of_images @ of_texts.T)


class _Map(nn.Module):
    """Unit vectors (N, dim) of vectors (N, width)."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.straight, self.hidden = xavier(nn.Linear(width, dim)), xavier(nn.Linear(width, dim))
        self.out = xavier(nn.Linear(dim, dim))

    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(self.straight(vectors) + self.out(F.relu(self.hidden(vectors))), dim=1)


class TwoViews(Matcher):
    """A matcher whose scores are those of two views, stacked; its items are encoded once.

    Args:
        matcher: the first view.
        second: the second view.
    """

    def __init__(self, matcher: Matcher, second: SecondView) -> None:
        super().__init__()
        self.matcher, self.second = matcher, second

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images by the matcher."""
        return self.matcher.encode_images(images)

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions by the matcher."""
        return self.matcher.encode_texts(texts)

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Return the scores of both views, (2, N_images, N_texts), at least float32."""
        first, second = wide(self.matcher.score(images, texts)), self.second(images, texts)
        return torch.stack([first, second.to(first.dtype)])
