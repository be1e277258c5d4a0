"""Optimal transport as pure tensor functions: problem in, plan or score out.

Imported lazily: ``import robustcmr.transport`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.transport.exact import exact_plan
    from robustcmr.transport.pairwise import pair_scores
    from robustcmr.transport.plans import balanced_plan, partial_plan, sinkhorn_plan, unbalanced_plan
    from robustcmr.transport.problems import feasible_mass
    from robustcmr.transport.sparse_graph import sparse_feasible_mass
    from robustcmr.transport.sparse_partial import sparse_partial_plan
    from robustcmr.transport.streamed_unbalanced import streamed_potentials, streamed_row_masses

__all__ = [
    "balanced_plan",
    "exact_plan",
    "feasible_mass",
    "pair_scores",
    "partial_plan",
    "sinkhorn_plan",
    "sparse_feasible_mass",
    "sparse_partial_plan",
    "streamed_potentials",
    "streamed_row_masses",
    "unbalanced_plan",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "balanced_plan": "plans",
        "exact_plan": "exact",
        "feasible_mass": "problems",
        "pair_scores": "pairwise",
        "partial_plan": "plans",
        "sinkhorn_plan": "plans",
        "sparse_feasible_mass": "sparse_graph",
        "sparse_partial_plan": "sparse_partial",
        "streamed_potentials": "streamed_unbalanced",
        "streamed_row_masses": "streamed_unbalanced",
        "unbalanced_plan": "plans",
    },
)
