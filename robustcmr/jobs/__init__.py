"""Whole jobs, for the command line and for Python; each is named after its module.

Imported lazily because torch is slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.jobs.open import OpenRun as OpenRun, open_run as open_run
    from robustcmr.jobs.rematch import RematchOptions as RematchOptions, rematch_run as rematch_run
    from robustcmr.jobs.report import write_run_report as write_run_report
    from robustcmr.jobs.train import resume as resume

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "open": "OpenRun open_run",
        "rematch": "RematchOptions rematch_run",
        "report": "write_run_report",
        "train": "resume",
    },
)
