"""``robustcmr certify``: a list of wrong pairs that labels stand behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli.options import AsJson, say


def certify(
    audit: Annotated[Path, typer.Argument(help="Folder of an audit with labels of 'robustcmr review'.")],
    precision: Annotated[
        float | None, typer.Option(help="Least share of wrong pairs in the list; 0.95 by default.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(help="Least share of all wrong pairs that the list holds, instead.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Confidence of the promise.")] = 0.95,
    no_report: Annotated[bool, typer.Option("--no-report", help="Do not write report.html again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Choose the list of wrong pairs that labels prove, and correct all probabilities by them.

    Writes certified.json, and pairs.parquet, lists/, summary.json and report.html again. The pairs as the
    audit judged them stay in audited.parquet. Exit code 1 where the labels do not suffice for the promise.

    Examples:
      robustcmr certify audits/web --precision 0.95 --confidence 0.95
      robustcmr certify audits/web --recall 0.8 --json
    """
    from dataclasses import asdict

    from robustcmr.cli.output import print_json
    from robustcmr.jobs.audit_packages import require_packages

    require_packages()
    from robustcmr.jobs.audit_report import write_audit_report
    from robustcmr.jobs.certify import certify_audit

    if precision is None and recall is None:
        precision = 0.95
    found = certify_audit(audit, precision, recall, confidence)
    page = None if no_report else write_audit_report(audit)
    if as_json:
        print_json({**asdict(found), "page": None if page is None else str(page)})
    else:
        say(*found.says, *([] if page is None else [f"Look at {page}"]))
    if found.found.cut is None:
        raise typer.Exit(1)
