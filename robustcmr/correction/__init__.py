"""What should the target be instead? Rematching by partial transport, learned costs, label correction.

Imported lazily: ``import robustcmr.correction`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.correction.candidates import Candidates as Candidates
    from robustcmr.correction.candidates import nearest_candidates as nearest_candidates
    from robustcmr.correction.cost_network import CostNetwork as CostNetwork
    from robustcmr.correction.dummy_points import dummy_point_plan as dummy_point_plan
    from robustcmr.correction.label_transport import label_targets as label_targets
    from robustcmr.correction.label_transport import relation_plan as relation_plan
    from robustcmr.correction.positional_cost import PositionalCost as PositionalCost
    from robustcmr.correction.positional_cost import positional_loss as positional_loss
    from robustcmr.correction.positional_cost import positional_problem as positional_problem
    from robustcmr.correction.rematching import Targets as Targets
    from robustcmr.correction.rematching import allowed_cells as allowed_cells
    from robustcmr.correction.rematching import rematch as rematch
    from robustcmr.correction.rematching import rematch_targets as rematch_targets
    from robustcmr.correction.synthetic_matches import SyntheticProblem as SyntheticProblem
    from robustcmr.correction.synthetic_matches import synthetic_loss as synthetic_loss
    from robustcmr.correction.synthetic_matches import synthetic_problem as synthetic_problem
    from robustcmr.correction.whole_set import WholeSetPlan as WholeSetPlan
    from robustcmr.correction.whole_set import rematch_whole_set as rematch_whole_set

_BY_MODULE = {
    "candidates": "Candidates nearest_candidates",
    "cost_network": "CostNetwork",
    "dummy_points": "dummy_point_plan",
    "label_transport": "label_targets relation_plan",
    "positional_cost": "PositionalCost positional_loss positional_problem",
    "rematching": "Targets allowed_cells rematch rematch_targets",
    "synthetic_matches": "SyntheticProblem synthetic_loss synthetic_problem",
    "whole_set": "WholeSetPlan rematch_whole_set",
}
_EXPORTS = {name: module for module, names in _BY_MODULE.items() for name in names.split()}
__all__ = sorted(_EXPORTS)
__getattr__, __dir__ = attach(__name__, _EXPORTS)
