"""Who is clean? Per-pair evidence in, posterior out; no gradient step."""

from robustcmr.selection.divide import divide
from robustcmr.selection.evidence import batch_hinge

__all__ = ["batch_hinge", "divide"]
