"""Time until the command answers: help and lists, with and without compiled bytecode.

    python scripts/benchmarks/start.py

The floor is ``python -c pass``, the reference ``python -c "import torch"``. First calls find no compiled
bytecode, the standard library's included. Help loads no torch; a list does, as it imports the listed classes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial

import common

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
        return common.stopwatch(partial(call, words, PYTHONPYCACHEPREFIX=folder))


def main() -> None:
    """Measure and write the rows."""
    parser = common.benchmark_parser(__doc__, "start.csv")
    parser.add_argument("--repeats", type=int, default=9, help="later calls, of which the median is reported")
    common.add_switch(parser, "--first", "measure first calls too")
    options = common.parsed(parser)
    measured = {}
    if options.first:
        measured["first call"] = {name: first_call(words) for name, words in EVERY.items()}
    calls = {name: partial(call, words) for name, words in EVERY.items()}
    common.in_turns(calls, int(options.repeats > 1))  # compiles what is not compiled yet
    later = common.in_turns(calls, options.repeats)
    measured["later call"] = {name: statistics.median(seconds) for name, seconds in later.items()}
    rows: list[dict[str, object]] = []
    for state, found in measured.items():
        floor = common.Floor(found["nothing"], "python -c pass")
        for name in CALLS:
            what = f"{name}, {state}"
            pair = found[name], found["torch"], "importing torch"
            front = common.headline("start", what, *pair, floor=floor)
            rows.append({**front, "repeats": options.repeats})
    common.publish(rows, options.output)


if __name__ == "__main__":
    main()
