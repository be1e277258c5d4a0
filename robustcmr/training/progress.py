"""Progress on stderr: a bar with rates and remaining time in a terminal or notebook, nothing elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class TrainingProgress(Progress):
    """A bar over all steps of the run, drawn if the console is a terminal or a notebook."""

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

    def begin_epoch(self, epoch: int, steps: int, first: int) -> None:
        """Show the epoch (from 0), of ``steps`` steps, whose next step is ``first``."""
        self.update(
            self._task,
            description=f"epoch {epoch + 1}/{self._total_epochs}",
            total=self._total_epochs * steps,
            completed=epoch * steps + first,
        )

    def step(self, loss: float, pairs_per_second: float) -> None:
        """Advance by one step."""
        self.update(self._task, advance=1, note=f"loss {loss:.3f}  {pairs_per_second:,.0f} pairs/s")

    def note(self, text: str) -> None:
        """Show work other than steps."""
        self.update(self._task, note=text)
