"""``python -m robustcmr`` is the command line."""

from __future__ import annotations

from robustcmr.cli.main import run

if __name__ == "__main__":
    run()
