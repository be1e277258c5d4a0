"""What should the target be instead? Rematching by partial transport, learned costs, label correction.

Imported lazily: ``import robustcmr.correction`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.correction.candidates import (
        Candidates as Candidates,
        nearest_candidates as nearest_candidates,
    )
    from robustcmr.correction.class_centres import (
        class_means as class_means,
        either_probability as either_probability,
    )
    from robustcmr.correction.dummy_points import dummy_point_plan as dummy_point_plan
    from robustcmr.correction.label_transport import (
        label_targets as label_targets,
        relation_plan as relation_plan,
    )
    from robustcmr.correction.memory import (
        AttentionRefiner as AttentionRefiner,
        PairMemory as PairMemory,
        nearest_values as nearest_values,
        pooled_values as pooled_values,
    )
    from robustcmr.correction.partners import (
        draw_partners as draw_partners,
        partner_chances as partner_chances,
    )
    from robustcmr.correction.positional_cost import (
        PositionalCost as PositionalCost,
        positional_loss as positional_loss,
        positional_problem as positional_problem,
    )
    from robustcmr.correction.rematching import (
        Targets as Targets,
        allowed_cells as allowed_cells,
        rematch as rematch,
        rematch_targets as rematch_targets,
    )
    from robustcmr.correction.replacement import (
        Nearest as Nearest,
        nearest_clean as nearest_clean,
        replaced_texts as replaced_texts,
        same_replacement as same_replacement,
    )
    from robustcmr.correction.running import running_target as running_target
    from robustcmr.correction.soft_labels import (
        anchor_ratio as anchor_ratio,
        batch_relative_prediction as batch_relative_prediction,
        hinge_agreement as hinge_agreement,
    )
    from robustcmr.correction.spreading import spread_targets as spread_targets
    from robustcmr.correction.whole_set import (
        WholeSetPlan as WholeSetPlan,
        rematch_whole_set as rematch_whole_set,
    )

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "candidates": "Candidates nearest_candidates",
        "class_centres": "class_means either_probability",
        "dummy_points": "dummy_point_plan",
        "label_transport": "label_targets relation_plan",
        "memory": "AttentionRefiner PairMemory nearest_values pooled_values",
        "partners": "draw_partners partner_chances",
        "positional_cost": "PositionalCost positional_loss positional_problem",
        "rematching": "Targets allowed_cells rematch rematch_targets",
        "replacement": "Nearest nearest_clean replaced_texts same_replacement",
        "running": "running_target",
        "soft_labels": "anchor_ratio batch_relative_prediction hinge_agreement",
        "spreading": "spread_targets",
        "whole_set": "WholeSetPlan rematch_whole_set",
    },
)
