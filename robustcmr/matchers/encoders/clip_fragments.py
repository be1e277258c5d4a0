"""Pictures to fragments: the patches of CLIP's vision model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustcmr.errors import DataError
from robustcmr.matchers.encoders.pretrained_files import PretrainedNetwork
from robustcmr.pretrained import read_config
from robustcmr.types import Fragments, ImageBatch


class ClipPatches(nn.Module):
    """Project the output patches of CLIP's vision model by a linear map.

    CLIP applies its last layer norm to the class token alone; here it also normalises the patches, so that
    both have the same scale. The class token becomes the pooled vector and is not a fragment.

    Args:
        weights: local folder or hub name of a CLIP model; only its configuration is read here.
        dim: D, width of a fragment.
        lr_factor: multiplies the learning rate of CLIP's weights; 0 freezes them.

    Raises:
        DataError: the configuration is missing, damaged or not CLIP's.
    """

    def __init__(self, weights: str, dim: int, lr_factor: float) -> None:
        super().__init__()
        from transformers import CLIPVisionModel  # slow to load

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
            images: N pictures (N, 3, H, W), H = W = CLIP's picture size.

        Returns:
            Fragments (N, P, D), P patches in row order, not normalised, and the class token (N, D).

        Raises:
            DataError: the batch holds no pixels, or pictures of another size.
        """
        check_pixels(images.features, self._size, f"{self._weights!r} (matcher.image_weights)")
        network: Any = self.backbone.network
        with self.backbone.gradients():
            hidden = network.post_layernorm(network(pixel_values=images.features).last_hidden_state)
        encoded: Tensor = self.linear(hidden)  # (N, 1 + P, D), class token first
        features = encoded[:, 1:]
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        return Fragments(features, mask, encoded[:, 0])


def check_pixels(features: Tensor, size: int, model: str) -> None:
    """Check that images are pixels of the size a CLIP model expects.

    Args:
        features: expected as (N, 3, size, size).
        size: height and width the model expects.
        model: name of the model for the message.

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
    """Return the network itself, which older releases of transformers wrap."""
    bare: nn.Module = getattr(model, "vision_model", model)
    return bare
