"""Graceful stops: Ctrl-C and SIGTERM set a flag, which the training loop checks between steps."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

from robustcmr.signals import SignalWatch
from robustcmr.training import processes


class TrainingStopped(Exception):  # noqa: N818  # a request, not an error
    """A signal asked the run to stop.

    Args:
        signal_number: the signal.
        saved: whether the run has saved itself; a second Ctrl-C does not wait for that.

    Attributes:
        folder: the run folder; set as the exception leaves the run.
    """

    def __init__(self, signal_number: int, saved: bool = True) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
        self.saved = saved
        self.folder: Path | None = None


class StopRequest(SignalWatch):
    """A context in which SIGINT and SIGTERM set a flag; a second SIGINT interrupts at once.

    A signal to one process stops all processes of a run at the same step.
    """

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, signal.SIGTERM))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.count and number == signal.SIGINT:
            raise KeyboardInterrupt
        super()._note(number, frame)

    def raise_if_asked(self) -> None:
        """Raise :class:`TrainingStopped` if any process has received a signal."""
        number = processes.largest(self.number or 0)
        if number:
            raise TrainingStopped(number)


class StopAtOnce(SignalWatch):
    """A context in which SIGINT and SIGTERM raise :class:`TrainingStopped` at once: all epochs are saved."""

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, signal.SIGTERM))

    def _note(self, number: int, frame: FrameType | None) -> None:
        super()._note(number, frame)
        raise TrainingStopped(number)
