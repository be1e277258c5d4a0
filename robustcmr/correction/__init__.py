"""What should the target be instead? Rematching by partial transport, learned costs, label correction.

Imported lazily: ``import robustcmr.correction`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.correction.candidates import Candidates, nearest_candidates
    from robustcmr.correction.cost_network import CostNetwork
    from robustcmr.correction.dummy_points import dummy_point_plan
    from robustcmr.correction.label_transport import label_targets, relation_plan
    from robustcmr.correction.positional_cost import PositionalCost, positional_loss, positional_problem
    from robustcmr.correction.rematching import Targets, allowed_cells, rematch, rematch_targets
    from robustcmr.correction.synthetic_matches import SyntheticProblem, synthetic_loss, synthetic_problem
    from robustcmr.correction.whole_set import WholeSetPlan, rematch_whole_set

_EXPORTS = {
    "Candidates": "candidates",
    "CostNetwork": "cost_network",
    "PositionalCost": "positional_cost",
    "SyntheticProblem": "synthetic_matches",
    "Targets": "rematching",
    "WholeSetPlan": "whole_set",
    "allowed_cells": "rematching",
    "dummy_point_plan": "dummy_points",
    "label_targets": "label_transport",
    "nearest_candidates": "candidates",
    "positional_loss": "positional_cost",
    "positional_problem": "positional_cost",
    "relation_plan": "label_transport",
    "rematch": "rematching",
    "rematch_targets": "rematching",
    "rematch_whole_set": "whole_set",
    "synthetic_loss": "synthetic_matches",
    "synthetic_problem": "synthetic_matches",
}
__all__ = [
    "Candidates",
    "CostNetwork",
    "PositionalCost",
    "SyntheticProblem",
    "Targets",
    "WholeSetPlan",
    "allowed_cells",
    "dummy_point_plan",
    "label_targets",
    "nearest_candidates",
    "positional_loss",
    "positional_problem",
    "relation_plan",
    "rematch",
    "rematch_targets",
    "rematch_whole_set",
    "synthetic_loss",
    "synthetic_problem",
]

__getattr__, __dir__ = attach(__name__, _EXPORTS)
