"""Open the source of a finished audit again."""

from __future__ import annotations

from robustcmr.errors import DataError
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.fingerprint import changed
from robustcmr.sources.guess import open_source
from robustcmr.sources.records import Source


def reopened(folder: AuditFolder) -> Source:
    """Open the source of an audit, with the format and the columns it was audited with.

    Raises:
        DataError: it is gone or has changed since, or ``audit.json`` is damaged.
    """
    about = folder.read_about()
    settings = about["settings"]
    source = open_source(
        settings["sources"],
        format=about["source"].get("format"),
        image=settings.get("image"),
        text=settings.get("text"),
        id=settings.get("id"),
    )
    if (how := changed(source, about["fingerprint"])) is not None:
        raise DataError(f"the source has changed since the audit: {how}; audit it again")
    return source
