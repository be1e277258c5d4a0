"""Optimal transport as pure tensor functions: problem in, plan or score out.

Imported lazily: ``import robustcmr.transport`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.transport.exact import exact_plan as exact_plan
    from robustcmr.transport.pairwise import pair_scores as pair_scores
    from robustcmr.transport.plans import (
        balanced_plan as balanced_plan,
        partial_plan as partial_plan,
        sinkhorn_plan as sinkhorn_plan,
        unbalanced_plan as unbalanced_plan,
    )
    from robustcmr.transport.problems import feasible_mass as feasible_mass
    from robustcmr.transport.sparse_graph import sparse_feasible_mass as sparse_feasible_mass
    from robustcmr.transport.sparse_partial import sparse_partial_plan as sparse_partial_plan
    from robustcmr.transport.streamed_unbalanced import (
        streamed_potentials as streamed_potentials,
        streamed_row_masses as streamed_row_masses,
    )

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "exact": "exact_plan",
        "pairwise": "pair_scores",
        "plans": "balanced_plan partial_plan sinkhorn_plan unbalanced_plan",
        "problems": "feasible_mass",
        "sparse_graph": "sparse_feasible_mass",
        "sparse_partial": "sparse_partial_plan",
        "streamed_unbalanced": "streamed_potentials streamed_row_masses",
    },
)
