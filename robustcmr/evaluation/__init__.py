"""Score matrices in blocks, ranks, recalls and the field's protocols; estimates compared with the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.evaluation.diagnosis import (
        DivisionDiagnosis as DivisionDiagnosis,
        diagnose_division as diagnose_division,
    )
    from robustcmr.evaluation.label_diagnosis import (
        LabelDiagnosis as LabelDiagnosis,
        diagnose_labels as diagnose_labels,
    )
    from robustcmr.evaluation.recall import (
        RetrievalMetrics as RetrievalMetrics,
        mean_metrics as mean_metrics,
        retrieval_metrics as retrieval_metrics,
        retrieval_ranks as retrieval_ranks,
    )
    from robustcmr.evaluation.scoring import encode_split as encode_split, score_matrix as score_matrix

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "diagnosis": "DivisionDiagnosis diagnose_division",
        "label_diagnosis": "LabelDiagnosis diagnose_labels",
        "recall": "RetrievalMetrics mean_metrics retrieval_metrics retrieval_ranks",
        "scoring": "encode_split score_matrix",
    },
)
