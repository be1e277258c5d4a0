"""Check that a third party's matcher, method or data set keeps its contract, in one line of a test.

Example::

    from robustcmr.testing import check_matcher

    def test_my_matcher():
        check_matcher(MyMatcher, {"dim": 32})
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.testing.datasets import DATASET_CHECKS, LABELLED_CHECKS, check_dataset
    from robustcmr.testing.matchers import MATCHER_CHECKS, check_matcher
    from robustcmr.testing.methods import LABEL_METHOD_CHECKS, METHOD_CHECKS, check_method
    from robustcmr.testing.report import ConformanceError, Report
    from robustcmr.testing.samples import sample_spec

__all__ = [
    "DATASET_CHECKS",
    "LABELLED_CHECKS",
    "LABEL_METHOD_CHECKS",
    "MATCHER_CHECKS",
    "METHOD_CHECKS",
    "ConformanceError",
    "Report",
    "check_dataset",
    "check_matcher",
    "check_method",
    "sample_spec",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        **dict.fromkeys(("DATASET_CHECKS", "LABELLED_CHECKS", "check_dataset"), "datasets"),
        **dict.fromkeys(("MATCHER_CHECKS", "check_matcher"), "matchers"),
        **dict.fromkeys(("LABEL_METHOD_CHECKS", "METHOD_CHECKS", "check_method"), "methods"),
        **dict.fromkeys(("ConformanceError", "Report"), "report"),
        "sample_spec": "samples",
    },
)
