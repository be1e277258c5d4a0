"""A matcher: mean of the regions against mean of the words."""

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import normalize

from robustcmr.matchers.base import Matcher
from robustcmr.options import Options
from robustcmr.types import Fragments


class Pooled(Matcher):
    """Cosine of the mean region and the mean word."""

    class Config(Options):
        """Width of the common space."""

        dim: int = Field(32, ge=1, description="Numbers a vector.")

    def __init__(self, config, spec):
        super().__init__()
        self.image = nn.Linear(spec.feature_width, config.dim)
        self.word = nn.Embedding(spec.vocabulary_size, config.dim, padding_idx=spec.padding_index)

    def encode_images(self, images):
        return one_vector(self.image(images.features), images.mask)

    def encode_texts(self, texts):
        return one_vector(self.word(texts.tokens), texts.mask)

    def score(self, images, texts):
        return images.pooled @ texts.pooled.T


def one_vector(features, mask):
    """Fragments of a single one, the mean of the real ones of (N, L, D)."""
    real = mask.unsqueeze(-1)
    mean = normalize((features * real).sum(1) / real.sum(1), dim=-1)
    return Fragments(mean.unsqueeze(1), torch.ones(len(mean), 1, dtype=torch.bool, device=mean.device), mean)
