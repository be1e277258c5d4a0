"""How soon the command answers: help and lists, beside Python starting to do nothing.

    python scripts/benchmarks/start.py

The floor is ``python -c pass``. First calls find no compiled bytecode at all, that of the standard library
included; later ones find all of it. Help imports no torch; a list does, as it reads the classes it lists. The
reference of help is a command line that imports torch before it says anything.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial

from common import (
    Floor,
    benchmark_parser,
    headline,
    machine_description,
    publish,
    stopwatch,
)

WANTED_SECONDS = 0.5
CALLS = {
    "robustcmr --help": ["-m", "robustcmr", "--help"],
    "robustcmr train --help": ["-m", "robustcmr", "train", "--help"],
    "robustcmr list matchers": ["-m", "robustcmr", "list", "matchers"],
}
NOTHING = ["-c", "pass"]
TORCH = ["-c", "import torch"]


def call(words: list[str], environment: dict[str, str]) -> None:
    """Run Python to its end."""
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=environment)


def main() -> int:
    """Measure and write the rows."""
    parser = benchmark_parser(__doc__, "start.csv")
    parser.add_argument("--repeats", type=int, default=9, help="later calls; medians over them are reported")
    parser.add_argument(
        "--first", action=argparse.BooleanOptionalAction, default=True, help="measure first calls too"
    )
    options = parser.parse_args()
    every = {**CALLS, "nothing": NOTHING, "torch": TORCH}
    first: dict[str, float] = {}
    for name, words in every.items() if options.first else ():
        with tempfile.TemporaryDirectory() as folder:
            first[name] = stopwatch(partial(call, words, {**os.environ, "PYTHONPYCACHEPREFIX": folder}))
    seconds: dict[str, list[float]] = {name: [] for name in every}
    for words in every.values() if options.repeats > 1 else ():
        call(words, dict(os.environ))
    for _ in range(options.repeats):
        for name, words in every.items():
            seconds[name].append(stopwatch(partial(call, words, dict(os.environ))))
    later = {name: statistics.median(found) for name, found in seconds.items()}
    rows: list[dict[str, object]] = []
    measured = {"later call": later, **({"first call": first} if options.first else {})}
    for state, found in measured.items():
        for name in CALLS:
            front = headline(
                *("start", f"{name}, {state}", found[name], found["torch"], "python -c 'import torch'"),
                floor=Floor(found["nothing"], "python -c pass"),
            )
            wanted = {"wanted_seconds": WANTED_SECONDS if "--help" in name else ""}
            rows.append({**front, **wanted, "repeats": options.repeats, **machine_description()})
    publish(rows, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
