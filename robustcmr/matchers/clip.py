"""CLIP: one vector a picture, one vector a caption, and their cosine."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.errors import DataError
from robustcmr.matchers.base import Matcher
from robustcmr.matchers.encoders.clip_fragments import refuse_other_pixels
from robustcmr.matchers.encoders.pretrained_files import PretrainedNetwork
from robustcmr.options import Options
from robustcmr.pretrained import anchored, longest_text, read_config
from robustcmr.types import DataSpec, Fragments, ImageBatch, MatcherInputs, TextBatch


class ClipConfig(Options):
    """Options of the CLIP matcher."""

    weights: str = Field(description="Local folder or hub name of a CLIP model in the form of transformers.")
    backbone_lr: float = Field(
        0.1, ge=0.0, description="Factor of the learning rate for CLIP's weights; 0 freezes them."
    )
    head: Literal["none", "linear"] = Field(
        "none",
        description="none: CLIP alone; linear: a trainable square matrix after each side, at first the "
        "identity.",
    )

    @field_validator("weights")
    @classmethod
    def _anchored(cls, value: str) -> str:
        return anchored(value)

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if self.backbone_lr == 0 and self.head == "none":
            raise ValueError(
                "backbone_lr=0 with head=none leaves nothing to train; choose head=linear, or a "
                "backbone_lr above 0"
            )
        return self


class Clip(Matcher):
    """Compare the two embeddings of a CLIP model by their cosine.

    A caption is pooled at its last token, which is the end mark however far it is padded and whatever
    words were hidden by the end mark, which CLIP also has for unknown words. CLIP's temperature is left out:
    methods bring their own. With ``head=linear`` scores begin as those of CLIP itself.

    Args:
        config: which weights, and how they are trained; of the files only the configuration is read here.
        spec: what must be known of the data.

    Raises:
        DataError: the configuration of the weights is missing, damaged or of no CLIP model, or the data do
            not fit it.

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
    """

    Config: ClassVar[type[Options]] = ClipConfig

    def __init__(self, config: ClipConfig, spec: DataSpec) -> None:
        super().__init__()
        from transformers import CLIPModel  # takes seconds

        self.config = config
        files = read_config(config.weights, "matcher.weights")
        _refuse_misfits(config.weights, files, spec)
        self._size: int = files.vision_config.image_size
        self.backbone = PretrainedNetwork(
            CLIPModel, files, config.weights, "matcher.weights", config.backbone_lr, kept=_without_temperature
        )
        self.image_head = _head(config.head, files.projection_dim)
        self.text_head = _head(config.head, files.projection_dim)

    @classmethod
    def inputs(cls, config: Any) -> MatcherInputs:
        """The tokenizer and the image processor of the same model."""
        return MatcherInputs(tokenizer=config.weights, image_processor=config.weights)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N pictures (N, 3, H, W) into one unit vector each, (N, 1, D)."""
        refuse_other_pixels(images.features, self._size, f"{self.config.weights!r} (matcher.weights)")
        network: Any = self.backbone.network
        with self.backbone.gradients():
            seen = network.vision_model(pixel_values=images.features).pooler_output
            embedded = network.visual_projection(seen)  # (N, D)
        return _one_fragment(self.image_head(embedded))

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions of at most W tokens into one unit vector each, (N, 1, D)."""
        network: Any = self.backbone.network
        with self.backbone.gradients():
            read = network.text_model(input_ids=texts.tokens, attention_mask=texts.mask.long())
            last = texts.mask.sum(1) - 1  # (N,) place of the end mark
            rows = torch.arange(len(texts), device=last.device)
            embedded = network.text_projection(read.last_hidden_state[rows, last])  # (N, D)
        return _one_fragment(self.text_head(embedded))

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Cosine of every image with every caption, (N_images, N_texts)."""
        return images.features[:, 0] @ texts.features[:, 0].T


def _refuse_misfits(weights: str, files: Any, spec: DataSpec) -> None:
    said = f"{weights!r} (matcher.weights)"
    if files.model_type != "clip":
        raise DataError(
            f"{said} is a {files.model_type} model; expected a CLIP model, whose config.json says "
            "model_type clip"
        )
    size, longest = files.vision_config.image_size, longest_text(files)
    if spec.picture_size is None:
        raise DataError(
            f"{said} reads pictures, but the data set gives region features; use a data set with pictures"
        )
    if spec.picture_size != (size, size):
        raise DataError(
            f"{said} reads pictures of {size}x{size} pixels, but its image processor makes "
            f"{spec.picture_size[0]}x{spec.picture_size[1]}; set the same size in preprocessor_config.json"
        )
    if longest is not None and spec.longest_caption > longest:
        raise DataError(
            f"{said} reads at most {longest} tokens, but the longest caption has {spec.longest_caption}; set "
            f"model_max_length to {longest} in tokenizer_config.json so that captions are cut"
        )
    if spec.vocabulary_size > files.text_config.vocab_size:
        raise DataError(
            f"{said} knows {files.text_config.vocab_size} tokens, but its tokenizer makes "
            f"{spec.vocabulary_size}; use the tokenizer it was trained with"
        )


def _head(kind: str, width: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    head = nn.Linear(width, width)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _one_fragment(embedded: Tensor) -> Fragments:
    """Vectors (N, D) as one unit fragment each, (N, 1, D), at least float32."""
    unit = F.normalize(embedded.to(torch.promote_types(embedded.dtype, torch.float32)), dim=-1)
    mask = torch.ones(len(unit), 1, dtype=torch.bool, device=unit.device)
    return Fragments(unit.unsqueeze(1), mask, unit)


def _without_temperature(model: Any) -> nn.Module:
    """The model without the one weight that a cosine does not use."""
    del model.logit_scale
    kept: nn.Module = model
    return kept
