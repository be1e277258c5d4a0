"""CLIP through transformers: the cosine of its image and text embeddings."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from robustcmr.errors import DataError
from robustcmr.matchers.base import Matcher
from robustcmr.matchers.embeddings import unit_fragments
from robustcmr.matchers.encoders.pretrained import ModelName, PretrainedNetwork, check_clip, check_pixels
from robustcmr.options import Options
from robustcmr.pretrained import longest_text, read_config
from robustcmr.types import DataSpec, Fragments, ImageBatch, MatcherInputs, TextBatch


class ClipConfig(Options):
    """Options of the CLIP matcher."""

    weights: ModelName = Field(
        description="Local folder or hub name of a CLIP model in transformers format.",
        examples=["openai/clip-vit-base-patch32"],
    )
    backbone_lr: float = Field(
        0.1, ge=0.0, description="Learning-rate factor of CLIP's weights; 0 freezes them."
    )
    head: Literal["none", "linear"] = Field(
        "none",
        description="none: CLIP alone; linear: a trainable square matrix a side, starting at the identity.",
    )

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if self.backbone_lr == 0 and self.head == "none":
            raise ValueError(
                "backbone_lr=0 with head=none leaves nothing to train; choose head=linear, or a "
                "backbone_lr above 0"
            )
        return self


class Clip(Matcher):
    """Score pairs by the cosine of CLIP's embeddings.

    A caption is pooled at its last real token, the end mark; CLIP's own pooling would stop at an unknown
    word, which shares the index of the end mark. CLIP's temperature is dropped because methods have their
    own. With ``head=linear`` training starts at the scores of CLIP itself.

    Raises:
        DataError: the configuration is missing, damaged or not CLIP's, or the data do not fit it.

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
    """

    Config: ClassVar[type[Options]] = ClipConfig

    def __init__(self, config: ClipConfig, spec: DataSpec) -> None:
        super().__init__()
        from transformers import CLIPModel  # slow to load

        self.config = config
        option = "matcher.weights"
        files = read_config(config.weights, option)
        self._model = f"{config.weights!r} ({option})"
        _refuse_misfits(self._model, files, spec)
        self._size: int = files.vision_config.image_size
        self.backbone = PretrainedNetwork(
            CLIPModel, files, config.weights, option, config.backbone_lr, _without_temperature
        )
        self.image_head = _head(config.head, files.projection_dim)
        self.text_head = _head(config.head, files.projection_dim)

    @classmethod
    def inputs(cls, config: Any) -> MatcherInputs:
        """Return the tokenizer and image processor of the same model."""
        return MatcherInputs(tokenizer=config.weights, image_processor=config.weights)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N pictures (N, 3, H, W) into one unit vector each, (N, 1, D)."""
        check_pixels(self._model, images.features, self._size)
        network: Any = self.backbone.network
        with self.backbone.gradients():
            seen = network.vision_model(pixel_values=images.features).pooler_output
            embedded = network.visual_projection(seen)  # (N, D)
        return unit_fragments(self.image_head(embedded))

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions of at most W tokens into one unit vector each, (N, 1, D)."""
        network: Any = self.backbone.network
        with self.backbone.gradients():
            read = network.text_model(input_ids=texts.tokens, attention_mask=texts.mask.long())
            last = texts.mask.sum(1) - 1  # (N,) position of the end mark
            rows = torch.arange(len(texts), device=last.device)
            embedded = network.text_projection(read.last_hidden_state[rows, last])  # (N, D)
        return unit_fragments(self.text_head(embedded))

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Return the cosine of every image with every caption, (N_images, N_texts)."""
        return images.features[:, 0] @ texts.features[:, 0].T


def _refuse_misfits(model: str, files: Any, spec: DataSpec) -> None:
    check_clip(model, files, "clip")
    size, longest = files.vision_config.image_size, longest_text(files)
    if spec.picture_size is None:
        raise DataError(
            f"{model} reads pictures, but the data set gives region features; use a data set with pictures"
        )
    if spec.picture_size != (size, size):
        raise DataError(
            f"{model} reads pictures of {size}x{size} pixels, but its image processor makes "
            f"{spec.picture_size[0]}x{spec.picture_size[1]}; set the same size in preprocessor_config.json"
        )
    if longest is not None and spec.longest_caption > longest:
        raise DataError(
            f"{model} reads at most {longest} tokens, but the longest caption has {spec.longest_caption}; "
            f"set model_max_length to {longest} in tokenizer_config.json to truncate captions"
        )
    if spec.vocabulary_size > files.text_config.vocab_size:
        raise DataError(
            f"{model} knows {files.text_config.vocab_size} tokens, but its tokenizer makes "
            f"{spec.vocabulary_size}; use the tokenizer it was trained with"
        )


def _head(kind: str, width: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    head = nn.Linear(width, width)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _without_temperature(model: Any) -> nn.Module:
    """Drop the temperature, which a cosine does not use."""
    del model.logit_scale
    kept: nn.Module = model
    return kept
