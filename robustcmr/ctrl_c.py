"""End a command at Ctrl-C in one line, from its first import on; so nothing slow is imported here."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # that of typing would import it
if TYPE_CHECKING:
    from types import FrameType

STOPPED = 130
"""Exit code of a command that Ctrl-C stopped, as shells have it."""


def end_imports_at_ctrl_c() -> None:
    """Let Ctrl-C end the process at once while a module is being imported, and else raise KeyboardInterrupt.

    Libraries swallow or rename a KeyboardInterrupt in the middle of their import. Where another handler is
    installed, or the signal is ignored, that stays.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    at = frame
    while at is not None:
        if at.f_code.co_filename.startswith("<frozen importlib"):
            say_stopped()
            os._exit(STOPPED)
        at = at.f_back
    signal.default_int_handler(number, frame)


def say_stopped() -> None:
    """Say in one line that Ctrl-C stopped the command; another Ctrl-C then ends the process silently."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(STOPPED))
    if os.environ.get("RANK", "0") == "0":  # of several processes, the one that writes
        os.write(2, b"robustcmr: stopped by Ctrl-C\n")
