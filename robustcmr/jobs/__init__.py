"""Whole jobs, for the command line and for Python; each is named after its module.

Imported lazily because torch is slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.jobs.open import OpenRun, open_run
    from robustcmr.jobs.rematch import RematchOptions, rematch_run
    from robustcmr.jobs.report import write_run_report
    from robustcmr.jobs.train import resume

__all__ = ["OpenRun", "RematchOptions", "open_run", "rematch_run", "resume", "write_run_report"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "OpenRun": "open",
        "RematchOptions": "rematch",
        "open_run": "open",
        "rematch_run": "rematch",
        "resume": "train",
        "write_run_report": "report",
    },
)
