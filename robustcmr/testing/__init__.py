"""Does a third party's matcher, method and data set keep their contracts? One line of a test tells.

Example::

    from robustcmr.testing import check_matcher

    def test_my_matcher():
        check_matcher(MyMatcher, {"dim": 32})
"""

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
