"""The training loop, its devices, seeds, batches and checkpoints; it knows no method and no track by name.

Imported lazily because torch is slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.training.interrupt import TrainingStopped as TrainingStopped
    from robustcmr.training.loop import Trainer as Trainer
    from robustcmr.training.state import TrainingState as TrainingState

__getattr__, __dir__, __all__ = attach(
    __name__, {"interrupt": "TrainingStopped", "loop": "Trainer", "state": "TrainingState"}
)
