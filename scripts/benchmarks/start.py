"""Time until the command answers: help and lists, with and without compiled bytecode.

    python scripts/benchmarks/start.py

The floor is ``python -c pass``, the reference ``python -c "import torch"``. First calls find no compiled
bytecode, the standard library's included. Help loads no torch; a list does, as it imports the listed classes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial

from common import Floor, benchmark_parser, headline, in_turns, machine_description, publish, stopwatch

COMMANDS = ("--help", "train --help", "list matchers")
CALLS = {f"robustcmr {words}": ("-m", "robustcmr", *words.split()) for words in COMMANDS}
EVERY = {**CALLS, "nothing": ("-c", "pass"), "torch": ("-c", "import torch")}


def call(words: tuple[str, ...], **environment: str) -> None:
    """Run Python to its end."""
    command, setting = [sys.executable, *words], {**os.environ, **environment}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=setting)


def first_call(words: tuple[str, ...]) -> float:
    """Seconds without any compiled bytecode."""
    with tempfile.TemporaryDirectory() as folder:
        return stopwatch(partial(call, words, PYTHONPYCACHEPREFIX=folder))


def main() -> int:
    """Measure and write the rows."""
    parser = benchmark_parser(__doc__, "start.csv")
    parser.add_argument("--repeats", type=int, default=9, help="later calls, of which the median is reported")
    parser.add_argument(
        "--first", action=argparse.BooleanOptionalAction, default=True, help="measure first calls too"
    )
    options = parser.parse_args()
    measured = {}
    if options.first:
        measured["first call"] = {name: first_call(words) for name, words in EVERY.items()}
    calls = {name: partial(call, words) for name, words in EVERY.items()}
    in_turns(calls, int(options.repeats > 1))  # compiles what is not compiled yet
    later = in_turns(calls, options.repeats)
    measured["later call"] = {name: statistics.median(seconds) for name, seconds in later.items()}
    rows: list[dict[str, object]] = []
    for state, found in measured.items():
        floor = Floor(found["nothing"], "python -c pass")
        for name in CALLS:
            what = f"{name}, {state}"
            front = headline("start", what, found[name], found["torch"], "importing torch", floor=floor)
            rows.append({**front, "repeats": options.repeats, **machine_description()})
    publish(rows, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
