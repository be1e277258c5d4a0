"""``robustcmr card``: a model card of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from robustcmr.cli.options import Run, output


def card(
    run: Run,
    target: Annotated[Path | None, output("File to write, such as RUN/README.md; stdout by default.")] = None,
) -> None:
    """Write a model card: data, noise, method, results with their provenance, limits, how to load it.

    Examples:
      robustcmr card runs/a
      robustcmr card runs/a -o runs/a/README.md
    """
    from robustcmr.files import write_text
    from robustcmr.reporting.card import model_card
    from robustcmr.runs.read import read_run

    text = model_card(read_run(run))
    if target is None:
        sys.stdout.write(text)
    else:
        write_text(target, text)
        sys.stderr.write(f"wrote {target}\n")
