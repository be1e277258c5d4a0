"""Run folders on disk: written, read and searched. Loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.runs.folder import RunFolder
    from robustcmr.runs.labels_table import LabelsTable
    from robustcmr.runs.pairs_table import PairsTable
    from robustcmr.runs.queries import read_queries
    from robustcmr.runs.read import FoundRuns, SavedRun, find_runs, read_run
    from robustcmr.runs.rematches_table import RematchesTable

__all__ = [
    "FoundRuns",
    "LabelsTable",
    "PairsTable",
    "RematchesTable",
    "RunFolder",
    "SavedRun",
    "find_runs",
    "read_queries",
    "read_run",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "FoundRuns": "read",
        "LabelsTable": "labels_table",
        "PairsTable": "pairs_table",
        "RematchesTable": "rematches_table",
        "RunFolder": "folder",
        "SavedRun": "read",
        "find_runs": "read",
        "read_queries": "queries",
        "read_run": "read",
    },
)
