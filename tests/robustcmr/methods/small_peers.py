"""A small matcher, batches by pair id, and a scorer that answers each matcher with given evidence."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from robustcmr.matchers.base import Matcher
from robustcmr.types import Fragments, ImageBatch, PairBatch, TextBatch

N, B = 24, 6
CHANCE = torch.Generator().manual_seed(1)
FEATURES = torch.randn(N, 1, 5, generator=CHANCE)
TOKENS = torch.randint(0, 9, (N, 3), generator=CHANCE)


class Towers(Matcher):
    """Cosines of a linear map of the region and the mean word, with dropout of regions."""

    def __init__(self, seed=0, dropout=0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.region, self.word = nn.Linear(5, 4), nn.Embedding(9, 4)
        self.dropout = nn.Dropout(dropout)

    def encode_images(self, images):
        return Fragments(F.normalize(self.region(self.dropout(images.features)), dim=-1), images.mask)

    def encode_texts(self, texts):
        return Fragments(F.normalize(self.word(texts.tokens).mean(1, keepdim=True), dim=-1), texts.mask)

    def score(self, images, texts):
        return images.features[:, 0] @ texts.features[:, 0].T


class HalfTowers(Towers):
    """The same, with scores of half precision."""

    def score(self, images, texts):
        return super().score(images, texts).bfloat16()


def batch_of(ids, images=None):
    """Pairs by id; each has an image of its own unless told otherwise."""
    ids = torch.as_tensor(ids)
    images = ids if images is None else torch.as_tensor(images)
    return PairBatch(
        ImageBatch(FEATURES[images], torch.ones(len(ids), 1, dtype=torch.bool)),
        TextBatch(TOKENS[ids], torch.ones(len(ids), 3, dtype=torch.bool)),
        ids,
        images[:, None] == images[None, :],
    )


class PeerScorer:
    """Answers with the evidence (N,) of whichever of two matchers is asked, and notes what was asked."""

    def __init__(self, method, first, second):
        self.method = method
        self.values = (first, second)
        self.asked = []

    def __call__(self, evidence, matcher):
        self.asked.append(evidence)
        place = [each is matcher for each in self.method.matchers].index(True)
        return np.asarray(self.values[place], dtype=np.float32)


def unasked(evidence, matcher):
    raise AssertionError("warming up needs no evidence")


def evidence_of(n, suspected):
    """High for suspected pairs."""
    rng = np.random.default_rng(0)
    return rng.normal(np.where(np.isin(np.arange(n), suspected), 5.0, 1.0), 0.1)
