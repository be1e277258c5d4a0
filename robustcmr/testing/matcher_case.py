"""What every check of a matcher is handed, and how scores are compared."""

from __future__ import annotations

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
    """A matcher to be built as often as wanted, and the data to try it on.

    Attributes:
        cls: the matcher's class.
        config: its options.
        spec: what it is told of the data.
        tolerance: largest difference of scores that count as equal, relative to scores above 1.
        bf16_tolerance: the same where bfloat16 is compared with float32.
        largest_score: scores of ordinary data stay below it.
    """

    cls: type[Matcher]
    config: Options
    spec: DataSpec
    tolerance: float
    bf16_tolerance: float
    largest_score: float

    def build(self, seed: int = 0) -> Matcher:
        """A fresh matcher in evaluation mode; another seed, other weights."""
        seed_everything(seed)
        make: Any = self.cls
        matcher: Matcher = make(self.config, self.spec)
        return matcher.eval()

    def images(self, n: int = N_IMAGES, seed: int = 0) -> ImageBatch:
        """N made-up images."""
        return sample_images(self.spec, n, seed)

    def texts(self, n: int = N_TEXTS, seed: int = 0) -> TextBatch:
        """N made-up captions."""
        return sample_texts(self.spec, n, seed)

    def moved(self, found: Tensor, expected: Tensor) -> float | None:
        """By how much scores differ, or None where that is within the tolerance."""
        return beyond(found, expected, self.tolerance)


def beyond(found: Tensor, expected: Tensor, tolerance: float) -> float | None:
    """Largest difference, infinite where a number is not; None where it is within the tolerance.

    Args:
        found: scores of any shape.
        expected: scores of the same shape.
        tolerance: absolute where no expected score is above 1, relative to the largest otherwise.
    """
    if found.shape != expected.shape:
        return float("inf")
    gap = (found.float() - expected.float()).abs().nan_to_num(float("inf"), float("inf"))
    limit = tolerance * max(1.0, float(expected.float().abs().nan_to_num(0.0, 0.0, 0.0).max()))
    largest = float(gap.max())
    return largest if largest > limit else None


@torch.no_grad()
def scored(matcher: Matcher, images: ImageBatch, texts: TextBatch) -> Tensor:
    """(N_images, N_texts) scores by way of the encoders."""
    return matcher.score(matcher.encode_images(images), matcher.encode_texts(texts))


@torch.no_grad()
def encoded(matcher: Matcher, images: ImageBatch, texts: TextBatch) -> tuple[Fragments, Fragments]:
    """Fragments of both sides."""
    return matcher.encode_images(images), matcher.encode_texts(texts)


def longer_images(images: ImageBatch) -> ImageBatch:
    """The same regions with more padded places behind them."""
    return ImageBatch(F.pad(images.features, (0, 0, 0, SPARE - 1)), F.pad(images.mask, (0, SPARE - 1)))


def longer_texts(texts: TextBatch, padding_index: int) -> TextBatch:
    """The same captions with more padded places behind them."""
    tokens = F.pad(texts.tokens, (0, SPARE - 1), value=padding_index)
    return replace(texts, tokens=tokens, mask=F.pad(texts.mask, (0, SPARE - 1)))


def trainable(matcher: Matcher) -> dict[str, torch.nn.Parameter]:
    """Parameters that training is to move, by name; those of a frozen backbone are not."""
    frozen = {
        parameter
        for module in matcher.modules()
        if isinstance(module, Backbone) and module.lr_factor == 0
        for parameter in module.parameters()
    }
    named = matcher.named_parameters()
    return {name: p for name, p in named if p.requires_grad and p not in frozen}


def no_regions(case: MatcherCase) -> str | None:
    """Why images cannot be padded; None if they can."""
    if case.spec.picture_size is not None:
        return "the matcher reads pictures, which have no regions to pad"
    if case.spec.n_regions <= SPARE:
        return f"the spec has at most {case.spec.n_regions} regions, which leaves no room to pad"
    return None
