"""Handle signals inside a context and restore the previous handlers afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Self


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
