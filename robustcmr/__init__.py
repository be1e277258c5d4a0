"""Train image-text matchers on partly mismatched pairs, and find the mismatches.

Names are imported at their first use, so that ``import robustcmr`` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.errors import UserError as UserError
    from robustcmr.jobs.api import (
        compare as compare,
        list_datasets as list_datasets,
        list_matchers as list_matchers,
        list_methods as list_methods,
        load as load,
        train as train,
    )
    from robustcmr.jobs.audit_api import audit_pairs as audit_pairs, load_audit as load_audit
    from robustcmr.jobs.trained import TrainedRun as TrainedRun

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "errors": "UserError",
        "jobs.api": "compare list_datasets list_matchers list_methods load train",
        "jobs.audit_api": "audit_pairs load_audit",
        "jobs.trained": "TrainedRun",
    },
)
