"""Pictures to fragments: the patches that CLIP's vision model sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustcmr.errors import DataError
from robustcmr.matchers.encoders.pretrained_files import PretrainedNetwork
from robustcmr.pretrained import read_config
from robustcmr.types import Fragments, ImageBatch


class ClipPatches(nn.Module):
    """Project each patch of a picture, as CLIP's vision model leaves it, by a linear map.

    The last layer norm, which CLIP applies to the class token alone, is applied to the patches too, so that
    both reach the linear map in the same scale. The class token becomes the pooled vector and is no fragment.

    Args:
        weights: local folder or hub name of a CLIP model; only its configuration is read here.
        dim: D, width of a fragment.
        lr_factor: what multiplies the learning rate of CLIP's weights; 0 freezes them.

    Raises:
        DataError: the configuration is missing, damaged or of no CLIP model.
    """

    def __init__(self, weights: str, dim: int, lr_factor: float) -> None:
        super().__init__()
        from transformers import CLIPVisionModel  # takes seconds

        self._weights = weights
        config = _vision_config(weights)
        self._size = config.image_size
        self.backbone = PretrainedNetwork(
            CLIPVisionModel, config, weights, "matcher.image_weights", lr_factor, kept=_bare
        )
        self.linear = nn.Linear(config.hidden_size, dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: ImageBatch) -> Fragments:
        """Encode N pictures.

        Args:
            images: N pictures as pixels (N, 3, H, W), H = W = CLIP's picture size.

        Returns:
            Fragments (N, P, D), P patches row by row, not normalised, and the class token (N, D).

        Raises:
            DataError: the batch holds no pixels, or pictures of another size.
        """
        refuse_other_pixels(images.features, self._size, f"{self._weights!r} (matcher.image_weights)")
        network: Any = self.backbone.network
        with self.backbone.gradients():
            hidden = network.post_layernorm(network(pixel_values=images.features).last_hidden_state)
        encoded: Tensor = self.linear(hidden)  # (N, 1 + P, D), class token first
        features = encoded[:, 1:]
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        return Fragments(features, mask, encoded[:, 0])


def refuse_other_pixels(features: Tensor, size: int, model: str) -> None:
    """Check that images are what a CLIP model can read.

    Args:
        features: what should be (N, 3, size, size).
        size: height and width the model was made for.
        model: what to call the model.

    Raises:
        DataError: they are not.
    """
    if tuple(features.shape[1:]) != (3, size, size):
        given = (
            f"pictures of {features.shape[2]}x{features.shape[3]} pixels"
            if features.dim() == 4
            else "region features"
        )
        raise DataError(
            f"{model} reads pictures of {size}x{size} pixels, got {given}; use a data set with pictures and "
            "the image processor of the same model"
        )


def _vision_config(weights: str) -> Any:
    config = read_config(weights, "matcher.image_weights")
    if config.model_type not in ("clip", "clip_vision_model"):
        raise DataError(
            f"{weights!r} (matcher.image_weights) is a {config.model_type} model; expected a CLIP model, "
            "whose config.json says model_type clip"
        )
    return config.vision_config if config.model_type == "clip" else config


def _bare(model: Any) -> nn.Module:
    """The network itself, which older releases of transformers wrap once more."""
    bare: nn.Module = getattr(model, "vision_model", model)
    return bare
