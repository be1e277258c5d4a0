"""Who is clean? Per-pair evidence in, posterior out; no gradient step."""

from robustcmr.selection.divide import divide, divide_by_reference
from robustcmr.selection.evidence import batch_cross_entropy, batch_hinge
from robustcmr.selection.noise_rate import at_noise_rate

__all__ = ["at_noise_rate", "batch_cross_entropy", "batch_hinge", "divide", "divide_by_reference"]
