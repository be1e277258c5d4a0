"""Entropic optimal transport as pure tensor functions: problem in, plan or score out."""

from robustcmr.transport.pairwise import pair_scores
from robustcmr.transport.sinkhorn import sinkhorn_plan

__all__ = ["pair_scores", "sinkhorn_plan"]
