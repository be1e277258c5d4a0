"""Handle signals inside a context and restore the previous handlers afterwards."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Self


class SignalWatch(ABC):
    """A context in which signals reach :meth:`_note`.

    Python handles signals only in the main thread; in other threads the context does nothing.

    Args:
        numbers: signal numbers.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        self._previous: dict[int, Any] = {}

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

    @abstractmethod
    def _note(self, number: int, _frame: FrameType | None) -> None:
        """Record a signal; called between two instructions of the main thread."""
