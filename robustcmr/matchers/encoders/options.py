"""Options of the encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from robustcmr.options import Options
from robustcmr.pretrained import anchored


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
    image_weights: str | None = Field(
        None, description="Local folder or hub name of the CLIP model for image_encoder=clip."
    )
    text_weights: str | None = Field(
        None, description="Local folder or hub name of the model for text_encoder=bert or clip."
    )
    backbone_lr: float = Field(
        0.1, ge=0.0, description="Learning-rate factor of pretrained weights; 0 freezes them."
    )

    @field_validator("image_weights", "text_weights")
    @classmethod
    def _anchored(cls, value: str | None) -> str | None:
        return None if value is None else anchored(value)

    @model_validator(mode="after")
    def _names_its_files(self) -> Self:
        for side, encoder, weights in (
            ("image", self.image_encoder == "clip", self.image_weights),
            ("text", self.text_encoder in ("bert", "clip"), self.text_weights),
        ):
            chosen = self.image_encoder if side == "image" else self.text_encoder
            if encoder and weights is None:
                raise ValueError(
                    f"{side}_encoder={chosen} needs {side}_weights, the folder or hub name of a "
                    "transformers model"
                )
            if weights is not None and not encoder:
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
