"""Which pairs are clean? Evidence of each pair in, posterior out; no gradient step.

Imported lazily: ``import robustcmr.selection`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.selection.divide import divide_by_mixture, divide_by_reference
    from robustcmr.selection.evidence import batch_cross_entropy, batch_hinge
    from robustcmr.selection.label_transitions import estimate_transitions
    from robustcmr.selection.noise_rate import at_noise_rate

__all__ = [
    "at_noise_rate",
    "batch_cross_entropy",
    "batch_hinge",
    "divide_by_mixture",
    "divide_by_reference",
    "estimate_transitions",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "at_noise_rate": "noise_rate",
        "batch_cross_entropy": "evidence",
        "batch_hinge": "evidence",
        "divide_by_mixture": "divide",
        "divide_by_reference": "divide",
        "estimate_transitions": "label_transitions",
    },
)
