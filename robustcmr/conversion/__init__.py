"""Released checkpoints of other people's code as run folders that can be evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.conversion.method import TrainedElsewhere as TrainedElsewhere
    from robustcmr.conversion.reading import read_checkpoint as read_checkpoint
    from robustcmr.conversion.released import (
        LAYOUTS as LAYOUTS,
        ConversionReport as ConversionReport,
        convert as convert,
    )

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "method": "TrainedElsewhere",
        "reading": "read_checkpoint",
        "released": "LAYOUTS ConversionReport convert",
    },
)
