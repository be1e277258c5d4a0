"""A matcher to check, the data to try it on, and the comparison of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.matchers.base import Backbone, Matcher
from robustcmr.options import Options
from robustcmr.testing.samples import SPARE, sample_images, sample_texts
from robustcmr.training.seeds import seed_everything
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch

N_IMAGES, N_TEXTS = 5, 6


@dataclass(frozen=True)
class MatcherCase:
    """A matcher to build repeatedly, and the data to try it on; see :func:`check_matcher` for its limits."""

    cls: type[Matcher]
    config: Options
    spec: DataSpec
    tolerance: float
    bf16_tolerance: float
    largest_score: float

    def build(self, seed: int = 0) -> Matcher:
        """Return a fresh matcher in evaluation mode; the seed decides its weights."""
        seed_everything(seed)
        make: Any = self.cls
        matcher: Matcher = make(self.config, self.spec)
        return matcher.eval()

    def images(self, n: int = N_IMAGES, seed: int = 0) -> ImageBatch:
        """Return n synthetic images."""
        return sample_images(self.spec, n, seed)

    def texts(self, n: int = N_TEXTS, seed: int = 0) -> TextBatch:
        """Return n synthetic captions."""
        return sample_texts(self.spec, n, seed)

    def sample(self) -> tuple[Matcher, ImageBatch, TextBatch, Tensor]:
        """Return a fresh matcher, images, captions and their scores."""
        matcher, images, texts = self.build(), self.images(), self.texts()
        return matcher, images, texts, scored(matcher, images, texts)

    def moved(
        self, what: str, found: Tensor, expected: Tensor, tolerance: float | None = None
    ) -> Iterator[str]:
        """Yield ``what`` with the largest difference if scores differ beyond the tolerance.

        The tolerance is absolute if no expected score exceeds 1, else relative to the largest.
        """
        gap, limit = float("inf"), self.tolerance if tolerance is None else tolerance
        if found.shape == expected.shape:
            gap = float((found.float() - expected.float()).abs().nan_to_num(float("inf"), float("inf")).max())
            limit *= max(1.0, float(expected.float().abs().nan_to_num(0.0, 0.0, 0.0).max()))
        if gap > limit:
            yield f"{what} by up to {gap:.3g}"


@torch.no_grad()
def encoded(matcher: Matcher, images: ImageBatch, texts: TextBatch) -> tuple[Fragments, Fragments]:
    """Return the fragments of both sides."""
    return matcher.encode_images(images), matcher.encode_texts(texts)


@torch.no_grad()
def scored(matcher: Matcher, images: ImageBatch, texts: TextBatch) -> Tensor:
    """Encode both sides and return their scores, (N_images, N_texts)."""
    return matcher.score(*encoded(matcher, images, texts))


def longer_images(images: ImageBatch) -> ImageBatch:
    """Append padded regions."""
    return ImageBatch(F.pad(images.features, (0, 0, 0, SPARE - 1)), F.pad(images.mask, (0, SPARE - 1)))


def longer_texts(texts: TextBatch, padding_index: int) -> TextBatch:
    """Append padded words."""
    tokens = F.pad(texts.tokens, (0, SPARE - 1), value=padding_index)
    return replace(texts, tokens=tokens, mask=F.pad(texts.mask, (0, SPARE - 1)))


def trainable(matcher: Matcher) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that are trained, by name; those of a frozen backbone are not."""
    frozen = {
        parameter
        for module in matcher.modules()
        if isinstance(module, Backbone) and module.lr_factor == 0
        for parameter in module.parameters()
    }
    named = matcher.named_parameters()
    return {name: p for name, p in named if p.requires_grad and p not in frozen}


def can_pad_regions(spec: DataSpec) -> bool:
    """Return whether images have regions, and fewer than the spec allows."""
    return spec.picture_size is None and spec.n_regions > SPARE


def rows_of_images(images: ImageBatch, rows: Tensor) -> ImageBatch:
    """Return some images of a batch, (k,) rows."""
    return replace(images, features=images.features[rows], mask=images.mask[rows])


def rows_of_texts(texts: TextBatch, rows: Tensor) -> TextBatch:
    """Return some captions of a batch, (k,) rows."""
    vectors = None if texts.vectors is None else texts.vectors[rows]
    return replace(texts, tokens=texts.tokens[rows], mask=texts.mask[rows], vectors=vectors)
