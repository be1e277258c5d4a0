"""Heads on frozen, precomputed vectors, for training on millions of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.errors import ConfigError, DataError
from robustcmr.matchers.base import Matcher
from robustcmr.matchers.encoders.layers import masked_mean, wide, xavier
from robustcmr.matchers.encoders.word_vectors import WordEmbedding
from robustcmr.options import Options
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch

NO_VECTORS = "put {split}_txts.npy, one row a caption, beside the captions of every split"


class EmbeddingsConfig(Options):
    """Options of heads on frozen vectors."""

    dim: int = Field(256, ge=1, description="D, width of the common space.")
    head: Literal["linear", "mlp"] = Field(
        "linear", description="linear: one linear map a side; mlp: a hidden layer between two."
    )
    hidden: int = Field(512, ge=1, description="Width of the hidden layer (mlp).")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout of the hidden layer (mlp).")
    texts: Literal["auto", "vectors", "words"] = Field(
        "auto",
        description="Caption input: its precomputed vector, or the mean of learned word vectors; auto takes "
        "the precomputed vector where the data has one.",
    )
    normalise_inputs: bool = Field(
        True, description="Normalise precomputed vectors to unit norm before the head."
    )
    word_dim: int = Field(128, ge=1, description="Width of a word vector (words).")
    word_vectors: Path | None = Field(
        None, description="GloVe-style text file to initialise word vectors from (words)."
    )

    @model_validator(mode="after")
    def _reads_words(self) -> Self:
        if self.word_vectors is not None and self.texts == "vectors":
            raise ValueError(
                "word_vectors is given but texts=vectors reads no words; use texts=words or leave it out"
            )
        return self


class Embeddings(Matcher):
    """A linear map or small network a side; the score is the cosine of the two vectors.

    An image is the mean of its regions; a caption is its precomputed vector or the mean of its word vectors.

    Raises:
        ConfigError: caption vectors are requested but absent, or word vectors are given but unused.
    """

    Config: ClassVar[type[Options]] = EmbeddingsConfig

    def __init__(self, config: EmbeddingsConfig, spec: DataSpec) -> None:
        super().__init__()
        width = None if config.texts == "words" else spec.text_width
        if config.texts == "vectors" and width is None:
            raise ConfigError(
                f"matcher.texts is vectors but the data has no caption vectors; {NO_VECTORS}, or set "
                "matcher.texts=words"
            )
        if config.word_vectors is not None and width is not None:
            raise ConfigError(
                "matcher.word_vectors is given but captions are read from their precomputed vectors; set "
                "matcher.texts=words or leave matcher.word_vectors out"
            )
        self.config = config
        self.words = None if width is not None else MeanOfWords(config, spec)
        self.image_head = build_head(config, spec.feature_width)
        self.text_head = build_head(config, config.word_dim if width is None else width)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into one unit vector each, (N, 1, D) and pooled (N, D)."""
        single = images.features.shape[1] == 1
        vectors = images.features[:, 0] if single else masked_mean(images.features, images.mask)  # (N, F)
        return unit_fragments(self.image_head(self._input(vectors)))

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions into one unit vector each, (N, 1, D) and pooled (N, D).

        Raises:
            DataError: the matcher reads caption vectors and these captions have none.
        """
        if self.words is not None:
            return unit_fragments(self.text_head(self.words(texts)))
        if texts.vectors is None:
            raise DataError(f"the matcher reads caption vectors and these captions have none; {NO_VECTORS}")
        return unit_fragments(self.text_head(self._input(texts.vectors)))

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Return the cosine of every image with every caption, (N_images, N_texts)."""
        return inner_products(images, texts)

    def _input(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.config.normalise_inputs else vectors


class MeanOfWords(nn.Module):
    """Mean of the learned word vectors of a caption."""

    def __init__(self, config: EmbeddingsConfig, spec: DataSpec) -> None:
        super().__init__()
        self.embedding = WordEmbedding(spec, config.word_dim, config.word_vectors)
        self.embedding.draw()

    def forward(self, texts: TextBatch) -> Tensor:
        """Return the mean word vector of N captions, (N, word_dim), without a tensor (N, W, word_dim)."""
        weight = self.embedding.weight
        shares = texts.mask.to(weight.dtype)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1)  # (N, W)
        return F.embedding_bag(
            texts.tokens,
            weight,
            mode="sum",
            per_sample_weights=shares,
            padding_idx=self.embedding.padding_idx,
        )


def build_head(config: EmbeddingsConfig, width: int) -> nn.Module:
    """Build the configured head, (N, width) -> (N, dim)."""
    if config.head == "linear":
        return xavier(nn.Linear(width, config.dim))
    return nn.Sequential(
        xavier(nn.Linear(width, config.hidden)),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        xavier(nn.Linear(config.hidden, config.dim)),
    )


def unit_fragments(vectors: Tensor) -> Fragments:
    """Normalise vectors (N, D) to unit norm, at least float32, as sets of one fragment each."""
    vectors = F.normalize(wide(vectors), dim=-1)
    return Fragments(vectors.unsqueeze(1), vectors.new_ones(len(vectors), 1, dtype=torch.bool), vectors)


def inner_products(images: Fragments, texts: Fragments) -> Tensor:
    """Return the inner products of single fragments, (N_images, N_texts).

    Autocast is off: the product is cheap, and bf16 scores are too coarse for a temperature of 0.05.
    """
    with torch.autocast(images.features.device.type, enabled=False):
        return images.features[:, 0] @ texts.features[:, 0].T
