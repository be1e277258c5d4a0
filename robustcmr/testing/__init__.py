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
    from robustcmr.testing.datasets import (
        DATASET_CHECKS as DATASET_CHECKS,
        LABELLED_CHECKS as LABELLED_CHECKS,
        check_dataset as check_dataset,
    )
    from robustcmr.testing.matchers import MATCHER_CHECKS as MATCHER_CHECKS, check_matcher as check_matcher
    from robustcmr.testing.methods import (
        LABEL_METHOD_CHECKS as LABEL_METHOD_CHECKS,
        METHOD_CHECKS as METHOD_CHECKS,
        check_method as check_method,
    )
    from robustcmr.testing.report import ConformanceError as ConformanceError, Report as Report
    from robustcmr.testing.samples import sample_spec as sample_spec

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "datasets": "DATASET_CHECKS LABELLED_CHECKS check_dataset",
        "matchers": "MATCHER_CHECKS check_matcher",
        "methods": "LABEL_METHOD_CHECKS METHOD_CHECKS check_method",
        "report": "ConformanceError Report",
        "samples": "sample_spec",
    },
)
