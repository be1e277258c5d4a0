"""``robustcmr noise``: the command line of ``noise_injection``."""

from __future__ import annotations

import sys

import typer


def noise(context: typer.Context) -> None:
    """Make, describe, verify or apply noise files (the same as 'python -m noise_injection')."""
    from noise_injection.cli import main

    sys.exit(main(context.args, prog="robustcmr noise"))
