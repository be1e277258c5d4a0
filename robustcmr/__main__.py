"""``robustcmr`` and ``python -m robustcmr``: the command line, which Ctrl-C ends even during its imports."""

from __future__ import annotations

from robustcmr.ctrl_c import end_imports_at_ctrl_c


def run() -> None:
    """Run the command line; see :func:`robustcmr.cli.main.run`."""
    end_imports_at_ctrl_c()
    from robustcmr.cli.main import run as run_command

    run_command()


if __name__ == "__main__":
    run()
