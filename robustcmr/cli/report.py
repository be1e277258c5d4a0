"""``robustcmr report``: a run or an audit as one HTML page, offline and on a phone too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli.options import AsJson, Trust, output, say


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, finished or not, or of a finished audit.")],
    target: Annotated[Path | None, output("Page to write; report.html in the folder by default.")] = None,
    gallery: Annotated[
        int, typer.Option(min=0, max=10_000, help="Most suspects to show; 0 for no gallery.")
    ] = 96,
    no_model: Annotated[
        bool,
        typer.Option(
            "--no-model", help="Load neither data nor model: no pictures, no fitted curves, no plans."
        ),
    ] = False,
    trusted: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's or an audit's outcome and a gallery of suspects as one HTML file.

    The page of a run has curves, estimates and queries too; that of an audit has counts, problems, and the
    command that writes the pairs to keep.

    Examples:
      robustcmr report runs/a
      robustcmr report runs/a --gallery 500 -o a.html
      robustcmr report audits/web
    """
    from robustcmr.cli.output import print_json
    from robustcmr.runs.audits import AuditFolder

    if AuditFolder(folder).begun:
        _report_audit(folder, target, gallery, not no_model, as_json)
        return
    from robustcmr.jobs.report import write_run_report

    written = write_run_report(folder, target, gallery, not no_model, trusted)
    if as_json:
        print_json({"run": str(folder), "page": str(written)})
    else:
        say(f"wrote {written}")


def _report_audit(folder: Path, target: Path | None, gallery: int, pictures: bool, as_json: bool) -> None:
    from robustcmr.cli.audit import print_audit
    from robustcmr.jobs.audit_packages import require_packages

    require_packages()
    from robustcmr.jobs.audit_report import write_audit_report

    written = write_audit_report(folder, target, gallery, pictures)
    print_audit(folder, written, as_json)
