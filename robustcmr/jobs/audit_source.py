"""Open the source of a finished audit again."""

from __future__ import annotations

from pathlib import Path

from robustcmr.errors import DataError
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.fingerprint import changed
from robustcmr.sources.guess import open_source
from robustcmr.sources.records import Source


def reopened(folder: AuditFolder) -> Source:
    """Open the source of an audit, with the format and the columns it was audited with.

    Raises:
        DataError: it is gone or has changed since.
    """
    about = folder.read_about()
    given = about["source"]
    source = open_source(
        [Path(path) for path in given["paths"]],
        format=given.get("format"),
        image=given.get("image"),
        text=given.get("text"),
        id=given.get("id"),
    )
    if (how := changed(source, about["fingerprint"])) is not None:
        raise DataError(f"the source has changed since the audit: {how}; audit it again")
    return source
