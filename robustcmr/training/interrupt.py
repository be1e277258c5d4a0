"""Stopping in good order: Ctrl-C and SIGTERM are noted, and the loop asks between steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from robustcmr.training import processes


class TrainingStopped(Exception):  # noqa: N818  # a request, not an error
    """The run was asked to stop and has saved itself.

    Attributes:
        signal_number: the signal that asked.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


class StopRequest:
    """A context in which SIGINT and SIGTERM set a flag; a second SIGINT interrupts at once.

    Of several processes, all stop at the same place when one of them is asked to.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python handles signals there alone
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number

    def raise_if_asked(self) -> None:
        """Raise :class:`TrainingStopped` if a signal came."""
        number = processes.largest(self.signal_number or 0)
        if number:
            raise TrainingStopped(number)
