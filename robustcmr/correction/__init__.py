"""What should the target be instead? Rematching by partial transport at a learned cost."""

from robustcmr.correction.cost_network import CostNetwork
from robustcmr.correction.legacy_cost import (
    LegacyCostNetwork,
    legacy_planted_loss,
    legacy_planted_problem,
)
from robustcmr.correction.legacy_rematching import legacy_plan
from robustcmr.correction.planting import PlantedProblem, planted_loss, planted_problem
from robustcmr.correction.rematching import Targets, allowed_cells, rematch, rematch_targets

__all__ = [
    "CostNetwork",
    "LegacyCostNetwork",
    "PlantedProblem",
    "Targets",
    "allowed_cells",
    "legacy_plan",
    "legacy_planted_loss",
    "legacy_planted_problem",
    "planted_loss",
    "planted_problem",
    "rematch",
    "rematch_targets",
]
