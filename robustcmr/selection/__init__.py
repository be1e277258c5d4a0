"""Which pairs are clean? Evidence of each pair in, posterior out; no gradient step.

Imported lazily: ``import robustcmr.selection`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.selection.agreement import (
        agreement_sets as agreement_sets,
        threshold_sets as threshold_sets,
    )
    from robustcmr.selection.before_training import divide_before_training as divide_before_training
    from robustcmr.selection.caption_words import rare_words as rare_words
    from robustcmr.selection.consensus import (
        consensus_labels as consensus_labels,
        divide_by_arg_max as divide_by_arg_max,
        rival_evidence as rival_evidence,
    )
    from robustcmr.selection.cross_fitting import (
        cross_fitted_evidence as cross_fitted_evidence,
        share_in_best as share_in_best,
    )
    from robustcmr.selection.divide import (
        divide_by_mixture as divide_by_mixture,
        divide_by_reference as divide_by_reference,
    )
    from robustcmr.selection.evidence import (
        batch_cross_entropy as batch_cross_entropy,
        batch_hinge as batch_hinge,
    )
    from robustcmr.selection.joined_evidence import divide_by_both as divide_by_both
    from robustcmr.selection.label_transitions import estimate_transitions as estimate_transitions
    from robustcmr.selection.neighbours import (
        NeighbourLabels as NeighbourLabels,
        nearest_neighbours as nearest_neighbours,
        neighbour_labels as neighbour_labels,
        neighbour_mean as neighbour_mean,
    )
    from robustcmr.selection.noise_rate import at_noise_rate as at_noise_rate
    from robustcmr.selection.random_level import (
        given_and_random_scores as given_and_random_scores,
        random_level_weights as random_level_weights,
    )
    from robustcmr.selection.released import (
        beta_as_released as beta_as_released,
        gaussian_as_released as gaussian_as_released,
    )
    from robustcmr.selection.structure import row_agreement as row_agreement
    from robustcmr.selection.threshold import divide_at as divide_at
    from robustcmr.selection.told_rate import told_noise_rate as told_noise_rate

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "agreement": "agreement_sets threshold_sets",
        "before_training": "divide_before_training",
        "caption_words": "rare_words",
        "consensus": "consensus_labels divide_by_arg_max rival_evidence",
        "cross_fitting": "cross_fitted_evidence share_in_best",
        "divide": "divide_by_mixture divide_by_reference",
        "evidence": "batch_cross_entropy batch_hinge",
        "joined_evidence": "divide_by_both",
        "label_transitions": "estimate_transitions",
        "neighbours": "NeighbourLabels nearest_neighbours neighbour_labels neighbour_mean",
        "noise_rate": "at_noise_rate",
        "random_level": "given_and_random_scores random_level_weights",
        "released": "beta_as_released gaussian_as_released",
        "structure": "row_agreement",
        "threshold": "divide_at",
        "told_rate": "told_noise_rate",
    },
)
