"""A small matcher and a small split, shared by the tests of this room."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcmr.matchers.base import Matcher
from robustcmr.options import Options
from robustcmr.types import Fragments, ImageBatch, TextBatch


class Toy(Matcher):
    """Best-matching region of every word, summed over words; with batch norm and dropout inside."""

    class Config(Options):
        """No options."""

    def __init__(self, width: int = 6, dim: int = 5, pooled: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.5)
        self.project = nn.Linear(width, dim)
        self.words = nn.Embedding(20, dim)
        self.pooled = pooled
        self.blocks: list[tuple[int, int, int, int]] = []
        self.modes: list[bool] = []
        self.grad: list[bool] = []

    def encode_images(self, images: ImageBatch) -> Fragments:
        self._note()
        flat = self.drop(self.norm(images.features.flatten(0, 1)))
        features = self.project(flat).unflatten(0, images.mask.shape) * images.mask[..., None]
        return Fragments(features, images.mask, features.mean(1) if self.pooled else None)

    def encode_texts(self, texts: TextBatch) -> Fragments:
        self._note()
        features = self.words(texts.tokens) * texts.mask[..., None]
        total = features.sum(1) / texts.mask.sum(1, keepdim=True)
        return Fragments(features, texts.mask, total if self.pooled else None)

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        self._note()
        n, r = images.mask.shape
        m, w = texts.mask.shape
        self.blocks.append((n, m, r, w))
        cells = torch.einsum("ird,jwd->ijrw", images.features, texts.features)
        cells = cells.masked_fill(~images.mask[:, None, :, None], -1e4)
        best = cells.amax(2).masked_fill(~texts.mask[None], 0.0)  # (n, m, w)
        total = best.sum(2)
        if images.pooled is not None and texts.pooled is not None:
            total = total + images.pooled @ texts.pooled.T
        return total

    def _note(self) -> None:
        self.modes.append(self.training)
        self.grad.append(torch.is_grad_enabled())


class Split:
    """Random images and captions of different lengths, and their batches."""

    def __init__(self, n_images: int, per_image: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        n_captions = n_images * per_image
        self.image_of_caption = (torch.arange(n_captions) // per_image).numpy()
        regions = torch.randint(1, 8, (n_images,), generator=generator)
        words = torch.randint(1, 10, (n_captions,), generator=generator)
        region_mask = torch.arange(7) < regions[:, None]
        word_mask = torch.arange(9) < words[:, None]
        features = torch.randn(n_images, 7, 6, generator=generator) * region_mask[..., None]
        tokens = torch.randint(4, 20, (n_captions, 9), generator=generator) * word_mask
        self.images, self.texts = ImageBatch(features, region_mask), TextBatch(tokens, word_mask)

    def image_batches(self, size: int = 4) -> list[ImageBatch]:
        whole = self.images
        parts = [slice(start, start + size) for start in range(0, len(whole), size)]
        return [ImageBatch(whole.features[part], whole.mask[part]) for part in parts]

    def text_batches(self, size: int = 7) -> list[TextBatch]:
        """Every batch cut to its own longest caption, as a reader would."""
        batches = []
        for start in range(0, len(self.texts), size):
            mask = self.texts.mask[start : start + size]
            longest = int(mask.sum(1).max())
            batches.append(TextBatch(self.texts.tokens[start : start + size, :longest], mask[:, :longest]))
        return batches


@pytest.fixture
def toy() -> Any:
    """Makes toy matchers of fixed weights: ``toy(seed=0, pooled=True)``."""

    def make(seed: int = 0, pooled: bool = True) -> Toy:
        torch.manual_seed(seed)
        return Toy(pooled=pooled)

    return make


@pytest.fixture
def make_split() -> Any:
    """Makes splits: ``make_split(n_images, per_image, seed=0)``."""

    def make(n_images: int, per_image: int, seed: int = 0) -> Split:
        return Split(n_images, per_image, seed)

    return make
