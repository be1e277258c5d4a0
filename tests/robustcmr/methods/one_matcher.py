"""A matcher of two linear towers and batches for it, for tests of single-network methods."""

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
    """Cosines of a linear map of the region and the mean word."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.region, self.word = nn.Linear(5, 4), nn.Embedding(9, 4)

    def encode_images(self, images):
        return Fragments(F.normalize(self.region(images.features), dim=-1), images.mask)

    def encode_texts(self, texts):
        return Fragments(F.normalize(self.word(texts.tokens).mean(1, keepdim=True), dim=-1), texts.mask)

    def score(self, images, texts):
        return images.features[:, 0] @ texts.features[:, 0].T


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


def unasked(evidence, matcher):
    raise AssertionError("no pass over the training set is needed")
