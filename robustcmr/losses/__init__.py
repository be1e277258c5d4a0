"""Losses as pure functions of a score matrix or of unit vectors, one value a pair.

Imported lazily: ``import robustcmr.losses`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.losses.class_anchors import (
        anchor_cross_entropy as anchor_cross_entropy,
        anchor_probabilities as anchor_probabilities,
        contrast_log_probabilities as contrast_log_probabilities,
        multimodal_contrast as multimodal_contrast,
        robust_clustering as robust_clustering,
    )
    from robustcmr.losses.class_labels import (
        absolute_error as absolute_error,
        bounded_cross_entropy as bounded_cross_entropy,
        row_distance as row_distance,
        same_class_likelihood as same_class_likelihood,
        self_paced_loss as self_paced_loss,
        self_paced_weights as self_paced_weights,
    )
    from robustcmr.losses.complementary import complementary_loss as complementary_loss
    from robustcmr.losses.cross_entropy import (
        infonce_loss as infonce_loss,
        log_matching_probabilities as log_matching_probabilities,
        match_probability as match_probability,
        robust_cross_entropy_loss as robust_cross_entropy_loss,
    )
    from robustcmr.losses.evidential import (
        dirichlet_divergence as dirichlet_divergence,
        evidential_loss as evidential_loss,
        evidential_uncertainty as evidential_uncertainty,
    )
    from robustcmr.losses.fusing import fused_losses as fused_losses
    from robustcmr.losses.hinge import hinge_loss as hinge_loss, soft_margin as soft_margin
    from robustcmr.losses.matching import (
        soft_cross_entropy_loss as soft_cross_entropy_loss,
        symmetric_cross_entropy_loss as symmetric_cross_entropy_loss,
        symmetric_kl_loss as symmetric_kl_loss,
    )
    from robustcmr.losses.structure import structure_loss as structure_loss, symmetry_loss as symmetry_loss
    from robustcmr.losses.topology import topology_loss as topology_loss
    from robustcmr.losses.triplet_alignment import triplet_alignment_loss as triplet_alignment_loss

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "class_anchors": "anchor_cross_entropy anchor_probabilities contrast_log_probabilities "
        "multimodal_contrast robust_clustering",
        "class_labels": "absolute_error bounded_cross_entropy row_distance same_class_likelihood "
        "self_paced_loss self_paced_weights",
        "complementary": "complementary_loss",
        "cross_entropy": "infonce_loss log_matching_probabilities match_probability "
        "robust_cross_entropy_loss",
        "evidential": "dirichlet_divergence evidential_loss evidential_uncertainty",
        "fusing": "fused_losses",
        "hinge": "hinge_loss soft_margin",
        "matching": "soft_cross_entropy_loss symmetric_cross_entropy_loss symmetric_kl_loss",
        "structure": "structure_loss symmetry_loss",
        "topology": "topology_loss",
        "triplet_alignment": "triplet_alignment_loss",
    },
)
