"""Released checkpoints of other people's code as run folders that can be evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.conversion.method import TrainedElsewhere
    from robustcmr.conversion.reading import read_checkpoint
    from robustcmr.conversion.released import LAYOUTS, ConversionReport, convert

__all__ = [
    "LAYOUTS",
    "ConversionReport",
    "TrainedElsewhere",
    "convert",
    "read_checkpoint",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "TrainedElsewhere": "method",
        "read_checkpoint": "reading",
        **dict.fromkeys(("ConversionReport", "LAYOUTS", "convert"), "released"),
    },
)
