"""Progress of an audit on stderr: a bar with the time left in a terminal or notebook, and a line a stage."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from robustcmr.sources.records import Source

logger = logging.getLogger("robustcmr")

PAIR_BYTES = 250
"""Bytes of disk that a pair takes while it is audited, about: its texts, codes, positions and scores."""

START_SECONDS, PAIR_SECONDS, NUMBER_SECONDS = 5.0, 3e-5, 1e-7
"""Seconds that an audit takes, about, that a pair adds, and that each number of its vectors adds."""


class AuditProgress(Progress):
    """A bar over the pairs of one stage, drawn if the console is a terminal or a notebook."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not (console.is_terminal or console.is_jupyter),
            transient=True,
        )
        self._task = self.add_task("audit", total=None)

    @contextmanager
    def stage(self, name: str, pairs: int | None, done: int = 0) -> Iterator[None]:
        """Show a stage of so many pairs, of which some are done, and say how long it took."""
        self.reset(self._task, description=name, total=pairs, completed=done)
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        if seconds >= 1:
            logger.info("%s: %s", name, duration(seconds))

    def pairs(self, count: int) -> None:
        """Advance by pairs."""
        self.update(self._task, advance=count)


def duration(seconds: float) -> str:
    """Return seconds in words: ``45 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Return bytes in words."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


def known_pairs(source: Source) -> int | None:
    """Return the number of rows, where every shard states it."""
    rows = [shard.rows for shard in source.shards]
    return None if None in rows else sum(row for row in rows if row is not None)


def announce(source: Source, output: Path, width: int) -> None:
    """Log how many pairs there are, and the time and disk that the audit takes, about."""
    pairs = known_pairs(source)
    free = shutil.disk_usage(output).free
    files = f"{len(source.shards):,} file{'s' * (len(source.shards) != 1)}"
    if pairs is None:
        logger.info(
            "%s of together %s; how many pairs, and the time left, is known once they are read; an audit "
            "takes about %s of disk for a million pairs, %s are free",
            *(files, size(sum(shard.size for shard in source.shards)), size(PAIR_BYTES * 10**6), size(free)),
        )
        return
    needed = PAIR_BYTES * pairs
    logger.info(
        "%s rows in %s; takes about %s and %s of disk, %s are free",
        *(f"{pairs:,}", files, duration(START_SECONDS + pairs * (PAIR_SECONDS + NUMBER_SECONDS * width))),
        *(size(needed), size(free)),
    )
    if needed > free:
        logger.warning("the disk of %s may become full; free some, or choose another output folder", output)
