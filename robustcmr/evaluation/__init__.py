"""Score matrices in blocks, ranks, recalls and the field's protocols; estimates compared with the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.evaluation.diagnosis import DivisionDiagnosis, diagnose_division
    from robustcmr.evaluation.label_diagnosis import LabelDiagnosis, diagnose_labels
    from robustcmr.evaluation.recall import RetrievalMetrics, mean_metrics, retrieval_metrics, retrieval_ranks
    from robustcmr.evaluation.scoring import encode_split, score_matrix

__all__ = [
    "DivisionDiagnosis",
    "LabelDiagnosis",
    "RetrievalMetrics",
    "diagnose_division",
    "diagnose_labels",
    "encode_split",
    "mean_metrics",
    "retrieval_metrics",
    "retrieval_ranks",
    "score_matrix",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        **dict.fromkeys(("DivisionDiagnosis", "diagnose_division"), "diagnosis"),
        **dict.fromkeys(("LabelDiagnosis", "diagnose_labels"), "label_diagnosis"),
        **dict.fromkeys(
            ("RetrievalMetrics", "mean_metrics", "retrieval_metrics", "retrieval_ranks"), "recall"
        ),
        **dict.fromkeys(("encode_split", "score_matrix"), "scoring"),
    },
)
