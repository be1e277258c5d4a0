"""Base of matchers that compare regions with words: the two encoders and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator
from torch import nn

from robustcmr.matchers.base import Matcher
from robustcmr.matchers.encoders import BiGRU, LinearRegions, RegionEncoder
from robustcmr.matchers.encoders.pretrained import ClipPatches, ModelName, PretrainedWords
from robustcmr.matchers.encoders.word_vectors import WordEmbedding
from robustcmr.options import Options
from robustcmr.types import DataSpec, Fragments, ImageBatch, MatcherInputs, TextBatch


class FragmentOptions(Options):
    """Options of the encoders of a fragment matcher."""

    dim: int = Field(128, ge=1, description="Width of a fragment; papers use 1024.")
    image_encoder: Literal["regions", "linear", "clip"] = Field(
        "regions",
        description="regions: a linear map plus a small network; linear: the map alone; clip: the patches of "
        "CLIP's vision model, from pictures.",
    )
    text_encoder: Literal["bigru", "bert", "clip"] = Field(
        "bigru",
        description="bigru: word vectors and a bidirectional GRU; bert: any BERT-like model; clip: CLIP's "
        "text model.",
    )
    region_hidden: int = Field(
        128, ge=1, description="Hidden width of the region network; the OMIT paper uses 512."
    )
    word_dim: int = Field(128, ge=1, description="Width of a word vector (bigru).")
    word_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout of word vectors (bigru).")
    word_vectors: Path | None = Field(
        None, description="GloVe-style text file to initialise word vectors from (bigru)."
    )
    image_weights: ModelName | None = Field(
        None, description="Local folder or hub name of the CLIP model for image_encoder=clip."
    )
    text_weights: ModelName | None = Field(
        None, description="Local folder or hub name of the model for text_encoder=bert or clip."
    )
    backbone_lr: float = Field(
        0.1, ge=0.0, description="Learning-rate factor of pretrained weights; 0 freezes them."
    )

    @model_validator(mode="after")
    def _names_its_files(self) -> Self:
        for side, chosen, weights in (
            ("image", self.image_encoder, self.image_weights),
            ("text", self.text_encoder, self.text_weights),
        ):
            pretrained = chosen in ("bert", "clip")
            if pretrained and weights is None:
                raise ValueError(
                    f"{side}_encoder={chosen} needs {side}_weights, the folder or hub name of a "
                    "transformers model"
                )
            if weights is not None and not pretrained:
                raise ValueError(
                    f"{side}_weights is given but {side}_encoder={chosen} reads none; choose another "
                    f"{side}_encoder or leave {side}_weights out"
                )
        if self.word_vectors is not None and self.text_encoder != "bigru":
            raise ValueError(
                f"word_vectors is given but text_encoder={self.text_encoder} has none; use bigru or leave "
                "it out"
            )
        return self


class FragmentMatcher(Matcher):
    """A matcher of image and caption fragments; subclasses define the score."""

    Config: ClassVar[type[Options]] = FragmentOptions
    config: FragmentOptions

    def __init__(self, config: FragmentOptions, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.regions = build_image_encoder(config, spec)
        self.words = build_text_encoder(config, spec)

    @classmethod
    def inputs(cls, config: Any) -> MatcherInputs:
        """Return the tokenizer and image processor of pretrained encoders."""
        return MatcherInputs(tokenizer=config.text_weights, image_processor=config.image_weights)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into fragments (N, R, D), not normalised and zero where padded."""
        return cast(Fragments, self.regions(images))

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions into fragments (N, W, D), not normalised and zero where padded."""
        return cast(Fragments, self.words(texts))


def build_image_encoder(options: FragmentOptions, spec: DataSpec) -> nn.Module:
    """Build the configured image encoder, ``ImageBatch -> Fragments``."""
    if options.image_encoder == "clip" and options.image_weights is not None:
        return ClipPatches(options.image_weights, options.dim, options.backbone_lr)
    if options.image_encoder == "linear":
        return LinearRegions(spec.feature_width, options.dim)
    return RegionEncoder(spec.feature_width, options.dim, options.region_hidden)


def build_text_encoder(options: FragmentOptions, spec: DataSpec) -> nn.Module:
    """Build the configured text encoder, ``TextBatch -> Fragments``."""
    if options.text_encoder != "bigru" and options.text_weights is not None:
        return PretrainedWords(options.text_weights, options.dim, options.backbone_lr)
    embedding = WordEmbedding(spec, options.word_dim, options.word_vectors)
    return BiGRU(embedding, options.dim, options.word_dropout)
