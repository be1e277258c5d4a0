"""Open the source of a finished audit again."""

from __future__ import annotations

from robustcmr.data.audited import reopened as reopened
