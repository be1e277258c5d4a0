"""Every method of the pairs track, trained alike, as a table that is filled over days and machines.

    python scripts/leaderboard.py --quick                 # every method once on few scenes
    python scripts/leaderboard.py --hours 8 --jobs 2      # the embedded scenes
    python scripts/leaderboard.py --data-root DIR         # Flickr8K as well
    python scripts/leaderboard.py --again ncr bicro       # redo the rows of methods whose code has changed
    python scripts/leaderboard.py --pages                 # write docs/leaderboard.md and docs/methods.md anew

Stage 1 trains all registered methods on VSE-infinity; stage 2 trains ours, L2RM, its warm-up loss, and the
best five others of stage 1 on VSE-infinity and OMIT. A run is an ordinary trial of a sweep in
sweeps/leaderboard. A row of the CSV is a finished run. It is not run again unless its options have changed:
those of matcher, method, optimiser and training, defaults included, are hashed. Changed code is not noticed:
name its method with --again, once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import leaderboard_page
import methods_page
from leaderboard_plan import Block, blocks, options_hash, pair_methods
from leaderboard_rows import CSV, collect, key_of, merged, present_hash
from run_table import Row, read_rows, write_rows

from robustcmr.errors import UserError
from robustcmr.files import to_yaml


@dataclass
class Board:
    """The rows, where they are kept, and the sweeps that fill them."""

    csv: Path
    folder: Path
    options: argparse.Namespace

    def __post_init__(self) -> None:
        self.rows = read_rows(self.csv)
        self.began = time.monotonic()

    def keep(self, rows: Sequence[Row]) -> None:
        """Add the rows of present options that are not there, and write the CSV."""
        known = {key_of(row): row["options"] for row in self.rows}
        fresh = [row for row in rows if known.get(key_of(row)) != row["options"] == present_hash(row)]
        if fresh:
            self.rows = merged(self.rows, [{key: str(value) for key, value in row.items()} for row in fresh])
            write_rows(self.csv, self.rows)

    def done(self, block: Block) -> list[tuple[tuple[str, float], str]]:
        """Runs of a block whose rows there are, with the options they would have now."""
        known = {key_of(row): row["options"] for row in self.rows}
        return [
            (noise, method)
            for noise, method in block.cells()
            if known.get(block.key(noise, method)) == options_hash(block.config(noise, method))
        ]

    def run(self, block: Block) -> bool:
        """Say how much of a block is in, and run the rest unless it is a dry run; False if it was stopped."""
        done = self.done(block)
        total = len(list(block.cells()))
        print(f"{block.name}: {len(done)} of {total} rows are in", flush=True)
        if len(done) == total or self.options.dry_run:
            return True
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{block.name}.yaml"
        file.write_text(to_yaml(block.sweep(done)), encoding="utf-8")
        options = self.options
        words = ["sweep", "run", str(file), "-o", str(self.folder / block.name)]
        words += ["--jobs", str(options.jobs), "--threads", str(options.threads)]
        if block.data == "f8k":
            words += ["--set", f"data.root={options.data_root}"]
        if options.hours is not None:
            left = options.hours - (time.monotonic() - self.began) / 3600
            if left <= 0:
                return False
            words += ["--hours", f"{left:g}"]
        try:
            code = subprocess.run([sys.executable, "-m", "robustcmr", *words], stdout=2).returncode
        except KeyboardInterrupt:
            code = 130
        self.keep(collect(self.folder, [block.data]))
        return code < 128


def main() -> None:
    """Run what is missing, then write the CSV and the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="every method once on few scenes; nothing is kept"
    )
    parser.add_argument("--data-root", type=Path, help="folder of Flickr8K; the scenes alone without it")
    parser.add_argument("--hours", type=float, help="start no run after so many hours")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads a run")
    parser.add_argument(
        "--again", nargs="+", default=[], metavar="METHOD", help="redo the rows of these methods"
    )
    parser.add_argument("--pages", action="store_true", help="only write the pages")
    parser.add_argument("--dry-run", action="store_true", help="say what is missing and stop")
    parser.add_argument("--folder", type=Path, help="folder of the sweeps; sweeps/leaderboard by default")
    options = parser.parse_args()
    if options.pages:
        write_pages()
        return
    unknown = sorted(set(options.again) - set(pair_methods()))
    if unknown:
        raise SystemExit(
            f"--again {' '.join(unknown)}: no such method; expected some of {', '.join(pair_methods())}"
        )
    folder = options.folder or Path("sweeps") / ("leaderboard_quick" if options.quick else "leaderboard")
    board = Board(folder / "rows.csv" if options.quick else CSV, folder, options)
    data = ["quick"] if options.quick else ["scenes", *(["f8k"] if options.data_root else [])]
    forget(board, options.again)
    if not options.dry_run:
        board.keep(collect(folder, data))
    ran: set[Block] = set()
    while todo := [block for block in blocks(data, board.rows) if block not in ran]:
        ran.add(todo[0])
        if not board.run(todo[0]):
            break
    if options.quick:
        print(leaderboard_page.tables(board.rows, methods_page.costs()))
    elif not options.dry_run:
        write_pages()


def forget(board: Board, methods: Sequence[str]) -> None:
    """Remove the rows of methods, and set their runs aside."""
    if not methods:
        return
    board.rows = [row for row in board.rows if row["method"] not in methods]
    write_rows(board.csv, board.rows)
    if board.folder.is_dir():  # the runs there are of the old code
        board.folder.rename(board.folder.with_name(f"{board.folder.name}-{int(time.time())}"))


def write_pages() -> None:
    """Write docs/leaderboard.md and docs/methods.md."""
    rows = read_rows(CSV)
    total = {data: planned_count(data, rows) for data in ("scenes", "f8k")}
    leaderboard_page.write(leaderboard_page.page(rows, methods_page.costs(), total, pair_methods()))
    leaderboard_page.write(methods_page.page(), methods_page.PAGE)


def planned_count(data: str, rows: Sequence[Row]) -> tuple[int, int]:
    """How many planned runs of a data set are in, and how many there are; of stage 2 once it is chosen."""
    have = {key_of(row) for row in rows}
    keys = {block.key(*cell) for block in blocks([data], rows) for cell in block.cells()}
    return len(keys & have), len(keys)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"leaderboard: {error}") from error
