"""Run folders on disk: written, read and searched. Loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.runs.folder import RunFolder as RunFolder
    from robustcmr.runs.labels_table import LabelsTable as LabelsTable
    from robustcmr.runs.pairs_table import PairsTable as PairsTable
    from robustcmr.runs.queries import read_queries as read_queries
    from robustcmr.runs.read import (
        FoundRuns as FoundRuns,
        SavedRun as SavedRun,
        find_runs as find_runs,
        read_run as read_run,
    )
    from robustcmr.runs.rematches_table import RematchesTable as RematchesTable

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "folder": "RunFolder",
        "labels_table": "LabelsTable",
        "pairs_table": "PairsTable",
        "queries": "read_queries",
        "read": "FoundRuns SavedRun find_runs read_run",
        "rematches_table": "RematchesTable",
    },
)
