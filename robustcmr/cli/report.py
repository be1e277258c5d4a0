"""``robustcmr report``: a run as one page to read, offline and on a phone too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, finished or not.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Page to write; RUN/report.html by default.")
    ] = None,
    gallery: Annotated[
        int, typer.Option(min=0, max=10_000, help="How many suspects to show at most; 0 for no gallery.")
    ] = 96,
    no_model: Annotated[
        bool,
        typer.Option(
            "--no-model", help="Open neither data nor model: no pictures, no fitted curves, no plans."
        ),
    ] = False,
) -> None:
    """Write a run's results, curves, beliefs and a gallery of suspects and queries as one HTML file."""
    from robustcmr.jobs.report import write_run_report

    written = write_run_report(run, output, gallery, not no_model)
    sys.stdout.write(f"wrote {written}\n")
