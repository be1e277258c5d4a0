"""``robustcmr card``: a model card of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def card(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write there, such as RUN/README.md.")
    ] = None,
) -> None:
    """Write a model card: data, noise, method, results with their provenance, limits, how to load it."""
    from robustcmr.files import write_text
    from robustcmr.reporting.card import model_card
    from robustcmr.runs.read import read_run

    text = model_card(read_run(run))
    if output is None:
        sys.stdout.write(text)
    else:
        write_text(output, text)
        sys.stderr.write(f"written to {output}\n")
