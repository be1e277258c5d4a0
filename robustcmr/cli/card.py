"""``robustcmr card``: a model card of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from robustcmr.cli.options import Run, output, write_out


def card(
    run: Run,
    target: Annotated[Path | None, output("File to write, such as RUN/README.md; stdout by default.")] = None,
) -> None:
    """Write a model card: data, noise, method, results with their provenance, limits, how to load it.

    Examples:
      robustcmr card runs/a
      robustcmr card runs/a -o runs/a/README.md
    """
    from robustcmr.reporting.card import model_card
    from robustcmr.runs.read import read_run

    write_out(model_card(read_run(run)), target)
