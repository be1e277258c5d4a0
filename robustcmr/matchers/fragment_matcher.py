"""Base of matchers that compare regions with words: it builds the two encoders."""

from __future__ import annotations

from typing import Any, ClassVar

from robustcmr.matchers.base import Matcher
from robustcmr.matchers.encoders import FragmentOptions, build_image_encoder, build_text_encoder
from robustcmr.options import Options
from robustcmr.types import DataSpec, Fragments, ImageBatch, MatcherInputs, TextBatch


class FragmentMatcher(Matcher):
    """A matcher of image and caption fragments; subclasses define the score.

    Args:
        config: encoders, and options of the subclass.
        spec: properties of the data.
    """

    Config: ClassVar[type[Options]] = FragmentOptions

    def __init__(self, config: FragmentOptions, spec: DataSpec) -> None:
        super().__init__()
        self.regions = build_image_encoder(config, spec)
        self.words = build_text_encoder(config, spec)

    @classmethod
    def inputs(cls, config: Any) -> MatcherInputs:
        """Return the tokenizer and image processor of pretrained encoders."""
        return MatcherInputs(tokenizer=config.text_weights, image_processor=config.image_weights)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into fragments (N, R, D), not normalised and zero where padded."""
        encoded: Fragments = self.regions(images)
        return encoded

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions into fragments (N, W, D), not normalised and zero where padded."""
        encoded: Fragments = self.words(texts)
        return encoded
