"""``robustcmr report``: a run as one HTML page, offline and on a phone too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli.options import Trust, output, say


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, finished or not.")],
    target: Annotated[Path | None, output("Page to write; RUN/report.html by default.")] = None,
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
) -> None:
    """Write a run's results, curves, estimates and a gallery of suspects and queries as one HTML file.

    Examples:
      robustcmr report runs/a
      robustcmr report runs/a --gallery 500 -o a.html
      robustcmr report runs/a --no-model
    """
    from robustcmr.jobs.report import write_run_report

    written = write_run_report(run, target, gallery, not no_model, trusted)
    say(f"wrote {written}")
