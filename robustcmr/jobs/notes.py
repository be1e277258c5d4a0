"""Log messages shown while a job runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from robustcmr.terminal import Console, LineFormatter


@contextmanager
def shown_notes(console: Console) -> Iterator[None]:
    """Show the package's log messages on a console: in a terminal or notebook above the progress bar.

    A quiet console shows none.
    """
    if console.quiet:
        yield
        return
    logger = logging.getLogger("robustcmr")
    handler: logging.Handler
    if console.is_terminal or console.is_jupyter:  # drawn together with the progress bar
        handler = RichHandler(
            console=console, show_path=False, show_level=False, highlighter=NullHighlighter(), markup=False
        )
    else:
        handler = logging.StreamHandler(sys.stderr)  # lines as long as they are
    handler.setFormatter(LineFormatter("%(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
