"""Two towers for labelled vectors: a small network a side, scored by cosine."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator
from torch import Tensor, nn

from robustcmr.errors import DataError
from robustcmr.matchers.base import Matcher
from robustcmr.matchers.embeddings import NO_VECTORS, inner_products, unit_fragments
from robustcmr.matchers.encoders import masked_mean
from robustcmr.options import Options
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch


class TwoTowerConfig(Options):
    """Options of the two towers."""

    dim: int = Field(256, ge=1, description="D, width of the common space; the MRL paper uses 512.")
    hidden: tuple[int, ...] = Field(
        (1024,), description="Widths of the hidden layers of a tower; the MRL paper uses [4096, 4096]."
    )
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout after each hidden layer.")

    @field_validator("hidden")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 for width in value):
            raise ValueError(f"got {list(value)}, expected widths of at least 1")
        return value


class TwoTower(Matcher):
    """Fully connected layers on the vector of an image and of a text; the score is their cosine.

    An image of several regions is read as their mean. Class anchors belong to the method.

    Raises:
        DataError: the texts have no vectors.

    References:
        Hu et al., "Learning Cross-Modal Retrieval with Noisy Labels", CVPR 2021.
    """

    Config: ClassVar[type[Options]] = TwoTowerConfig

    def __init__(self, config: TwoTowerConfig, spec: DataSpec) -> None:
        super().__init__()
        if spec.text_width is None:
            raise DataError(
                f"two_tower reads a vector of each text and this data has none; {NO_VECTORS}, or use a "
                "matcher that reads words"
            )
        self.config = config
        self.image_tower = _tower(spec.feature_width, config)
        self.text_tower = _tower(spec.text_width, config)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into one unit vector each, (N, 1, D) and pooled (N, D)."""
        return unit_fragments(self.image_tower(masked_mean(images.features, images.mask)))

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N texts into one unit vector each, (N, 1, D) and pooled (N, D)."""
        if texts.vectors is None:
            raise DataError("two_tower reads a vector of each text and this batch has none")
        return unit_fragments(self.text_tower(texts.vectors))

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Return the cosine of every image with every text, (N_images, N_texts)."""
        return inner_products(images, texts)


def _tower(width: int, config: TwoTowerConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for hidden in config.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(config.dropout)]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, config.dim))
