"""Display of a sweep: a live table in a terminal, and one line for each trial that ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from noise_injection.printing import one_line
from robustcmr.sweeps.progress import Standing, count_words, duration_words

LONGEST_TABLE = 20
"""Running trials listed; more are counted."""


class Display(Live):
    """Lines on a console, and inside the context a live table if it is a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, auto_refresh=False, transient=True)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self.console.print(one_line(line), highlight=False, soft_wrap=True, markup=False)

    def show(self, view: RenderableType) -> None:
        """Redraw the live table."""
        self.update(view, refresh=True)


def _table(*columns: str) -> Table:
    """Return an empty table with a column of names and right-aligned columns."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def board_view(
    title: str, counted: Mapping[str, int], running: Sequence[tuple[Standing, float]], left: float | None
) -> RenderableType:
    """Return the live table of a sweep.

    Args:
        title: its name, or that it is stopping.
        counted: trials by state.
        running: the running trials, each with its seconds so far.
        left: estimated seconds to the end; None if unknown.
    """
    total, done = sum(counted.values()), counted["finished"] + counted["failed"]
    head = Table.grid(padding=(0, 1))
    head.add_row(Text(title, style="bold"), ProgressBar(total=max(total, 1), completed=done, width=30))
    parts: list[RenderableType] = [
        head,
        f"{count_words(counted)} of {total}  {left_words(left)}".rstrip(),
    ]
    if running:
        table = _table("running", "epoch", "best so far", "time")
        for row, seconds in running[:LONGEST_TABLE]:
            best, time = best_words(row) or "-", duration_words(seconds)
            table.add_row(row.trial, f"{row.epoch}/{row.epochs}", best, time)
        parts.append(table)
    if len(running) > LONGEST_TABLE:
        parts.append(f"and {len(running) - LONGEST_TABLE} more")
    return Group(*parts)


def best_words(row: Standing) -> str:
    """Return the best score so far, such as ``dev rsum 402.4``; empty if there is none."""
    return "" if row.best is None else f"{row.split} {row.measure} {row.best:.1f}"


def ended_line(row: Standing, seconds: float, done: int, total: int, left: float | None) -> str:
    """Return the line for a trial that ended after ``seconds`` of this start.

    ``done`` of all trials have finished or failed; ``left`` as in :func:`board_view`.
    """
    outcome = row.reason if row.state == "failed" else best_words(row)
    head = f"[{done}/{total}] {row.trial} {row.state}{f': {outcome}' if outcome else ''}"
    rest = left_words(left) if done < total else ""
    return ", ".join(part for part in (head, duration_words(seconds), rest) if part)


def left_words(left: float | None) -> str:
    """Return such as ``about 12 min left``; empty if unknown or below a second."""
    return "" if left is None or left < 1 else f"about {duration_words(left)} left"


def status_table(rows: Sequence[Standing]) -> Table:
    """Return a table of all trials with their states, for the status command."""
    table = _table("trial", "state", "epoch", "best", "time")
    table.columns[0].no_wrap, table.columns[1].justify = True, "left"
    table.add_column("", overflow="fold")
    for row in rows:
        table.add_row(
            row.trial,
            row.state,
            "" if row.state == "waiting" else f"{row.epoch}/{row.epochs}",
            best_words(row),
            duration_words(row.seconds) if row.seconds else "",
            row.reason or "",
        )
    return table
