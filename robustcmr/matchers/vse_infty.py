"""VSE infinity: one vector an image and one a caption, pooled by learned weights of sorted values."""

from __future__ import annotations

from torch import Tensor

from robustcmr.matchers.embeddings import inner_products, unit_fragments
from robustcmr.matchers.encoders.generalised_pooling import GeneralisedPooling
from robustcmr.matchers.fragment_matcher import FragmentMatcher, FragmentOptions
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch


class VseInfty(FragmentMatcher):
    """Generalised pooling of each side; the score is the cosine of the two vectors.

    Departures: dropping regions in training (20% in the release) is the run's augmentation.

    References:
        Chen et al., "Learning the Best Pooling Strategy for Visual Semantic Embedding", CVPR 2021.
    """

    def __init__(self, config: FragmentOptions, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.region_pooling = GeneralisedPooling()
        self.word_pooling = GeneralisedPooling()

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into one unit vector each, (N, 1, D) and pooled (N, D)."""
        regions = super().encode_images(images)
        return unit_fragments(self.region_pooling(regions.features, regions.mask))

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions into one unit vector each, (N, 1, D) and pooled (N, D)."""
        words = super().encode_texts(texts)
        return unit_fragments(self.word_pooling(words.features, words.mask))

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Return the cosine of every image with every caption, (N_images, N_texts)."""
        return inner_products(images, texts)
