"""What is seen of a sweep while it runs: a live table in a terminal, a line a trial elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from robustcmr.sweeps.progress import Standing, count_words, duration_words

LONGEST_TABLE = 20
"""Running trials shown; more are counted."""


@dataclass(frozen=True)
class Board:
    """A sweep at a moment.

    Attributes:
        name: of the sweep.
        counted: trials by state.
        running: the running trials, each with its seconds so far.
        left: seconds it may still take; None where unknown.
        stopping: whether it was asked to stop.
    """

    name: str
    counted: dict[str, int]
    running: Sequence[tuple[Standing, float]]
    left: float | None
    stopping: bool = False


class Display:
    """Shows a sweep on a console; a context in which the live table stands.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def show(self, board: Board) -> None:
        """Draw the table anew; nothing where there is no terminal."""
        if self._live is not None:
            self._live.update(board_view(board), refresh=True)


def board_view(board: Board) -> RenderableType:
    """The live table."""
    total = sum(board.counted.values())
    done = board.counted["finished"] + board.counted["failed"]
    left = f"  {left_words(board.left)}" if left_words(board.left) else ""
    what = "stopping, trials save themselves" if board.stopping else board.name
    head = Table.grid(padding=(0, 1))
    head.add_row(Text(what, style="bold"), ProgressBar(total=max(total, 1), completed=done, width=30))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("running", overflow="fold")
    for name in ("epoch", "best so far", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, seconds in board.running[:LONGEST_TABLE]:
        table.add_row(
            Text(row.trial), f"{row.epoch}/{row.epochs}", best_words(row) or "-", duration_words(seconds)
        )
    hidden = len(board.running) - LONGEST_TABLE
    parts: list[RenderableType] = [head, Text(f"{count_words(board.counted)} of {total}{left}")]
    if board.running:
        parts.append(table)
    if hidden > 0:
        parts.append(Text(f"and {hidden} more"))
    return Group(*parts)


def best_words(row: Standing) -> str:
    """The best score so far, such as ``dev rsum 402.4``; empty where there is none."""
    return "" if row.best is None else f"{row.split} {row.measure} {row.best:.1f}"


def ended_line(row: Standing, seconds: float, done: int, total: int, left: float | None) -> str:
    """What is said when a trial ended.

    Args:
        row: the trial.
        seconds: how long this start took.
        done: trials that ended for good, this one included.
        total: all trials.
        left: seconds the sweep may still take; None where unknown.
    """
    parts = [f"[{done}/{total}] {row.trial} {row.state}"]
    if row.state == "failed":
        parts.append(f": {row.reason}")
    elif best_words(row):
        parts.append(f": {best_words(row)}")
    parts.append(f", {duration_words(seconds)}")
    if done < total and left_words(left):
        parts.append(f", {left_words(left)}")
    return "".join(parts)


def left_words(left: float | None) -> str:
    """Such as ``about 12 min left``; empty where that is unknown, or next to nothing."""
    return "" if left is None or left < 1 else f"about {duration_words(left)} left"


def status_table(rows: Sequence[Standing]) -> Table:
    """Every trial with its state, for the status command."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("trial", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("epoch", "best", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for row in rows:
        begun = row.state != "waiting"
        table.add_row(
            Text(row.trial),
            row.state,
            f"{row.epoch}/{row.epochs}" if begun else "",
            best_words(row),
            duration_words(row.seconds) if row.seconds else "",
            Text(row.reason or ""),
        )
    return table
