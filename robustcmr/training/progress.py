"""Progress on stderr: a bar with rates and the time left in a terminal or notebook, some lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY = 300.0
"""Seconds of an epoch without a line where no bar is drawn."""


class TrainingProgress(Progress):
    """A bar over all steps of the run in a terminal or a notebook, lines within long epochs elsewhere."""

    def __init__(self, console: Console, total_epochs: int) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not (console.is_terminal or console.is_jupyter),
            transient=True,
        )
        self._total_epochs = total_epochs
        self._task = self.add_task("training", total=None, note="")
        self._steps = self._step = 0
        self._said = time.monotonic()

    def begin_epoch(self, epoch: int, steps: int, first: int) -> None:
        """Show the epoch (from 0), of ``steps`` steps, whose next step is ``first``."""
        self._steps, self._step, self._said = steps, first, time.monotonic()
        self.update(
            self._task,
            description=f"epoch {epoch + 1}/{self._total_epochs}",
            total=self._total_epochs * steps,
            completed=epoch * steps + first,
        )

    def step(self, loss: float, pairs_per_second: float) -> None:
        """Advance by one step."""
        note = f"loss {loss:.3f}  {pairs_per_second:,.0f} pairs/s"
        self.update(self._task, advance=1, note=note)
        self._step += 1
        if self.disable and time.monotonic() - self._said >= LINE_EVERY:
            self._said = time.monotonic()
            epoch = self.tasks[self._task].description
            self.console.print(f"{epoch}  step {self._step:,}/{self._steps:,}  {note}", highlight=False)

    def note(self, text: str) -> None:
        """Show work other than steps."""
        self.update(self._task, note=text)
