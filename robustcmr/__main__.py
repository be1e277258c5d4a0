"""``robustcmr`` and ``python -m robustcmr``: the command line, which Ctrl-C ends even during its imports."""

from __future__ import annotations

import sys
from pathlib import Path

import robustcmr

# ``-m`` searches the current folder first, where anybody's modules and entry points may lie
if not sys.flags.safe_path and Path(robustcmr.__file__).parents[1] != Path(sys.path[0]):
    del sys.path[0]

from robustcmr.ctrl_c import end_imports_at_ctrl_c  # after the search path is safe


def run() -> None:
    """Run the command line; see :func:`robustcmr.cli.main.run`."""
    end_imports_at_ctrl_c()
    from robustcmr.cli.main import run as run_command

    run_command()


if __name__ == "__main__":
    run()
