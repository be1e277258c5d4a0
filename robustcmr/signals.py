"""Handle signals inside a context and restore the previous handlers afterwards; end a command at Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Self

STOPPED = 128 + signal.SIGINT
"""Exit code of a command that Ctrl-C stopped."""


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


class SignalWatch:
    """A context in which signals are recorded instead of ending the process.

    Python handles signals only in the main thread; in other threads the context does nothing.

    Args:
        numbers: signal numbers to watch.

    Attributes:
        number: the last signal; None before the first.
        count: how many came.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        self._previous: dict[int, Any] = {}
        self.number: int | None = None
        self.count = 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        """Record a signal; called between two instructions of the main thread."""
        self.number = number
        self.count += 1
