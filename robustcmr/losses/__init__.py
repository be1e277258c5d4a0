"""Losses as pure functions of a score matrix or of unit vectors, one value a pair.

Imported lazily: ``import robustcmr.losses`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.losses.class_anchors import (
        anchor_cross_entropy,
        anchor_probabilities,
        multimodal_contrast,
        robust_clustering,
    )
    from robustcmr.losses.cross_entropy import (
        infonce_loss,
        log_matching_probabilities,
        robust_cross_entropy_loss,
    )
    from robustcmr.losses.fusing import fused_losses
    from robustcmr.losses.hinge import hinge_loss
    from robustcmr.losses.matching import soft_cross_entropy_loss, symmetric_kl_loss

__all__ = [
    "anchor_cross_entropy",
    "anchor_probabilities",
    "fused_losses",
    "hinge_loss",
    "infonce_loss",
    "log_matching_probabilities",
    "multimodal_contrast",
    "robust_clustering",
    "robust_cross_entropy_loss",
    "soft_cross_entropy_loss",
    "symmetric_kl_loss",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "anchor_cross_entropy": "class_anchors",
        "anchor_probabilities": "class_anchors",
        "fused_losses": "fusing",
        "hinge_loss": "hinge",
        "infonce_loss": "cross_entropy",
        "log_matching_probabilities": "cross_entropy",
        "multimodal_contrast": "class_anchors",
        "robust_clustering": "class_anchors",
        "robust_cross_entropy_loss": "cross_entropy",
        "soft_cross_entropy_loss": "matching",
        "symmetric_kl_loss": "matching",
    },
)
