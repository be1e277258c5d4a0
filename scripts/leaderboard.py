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
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import leaderboard_page
import methods_page
from run_table import RESULTS, Row, read_rows, rounded, write_rows

from robustcmr import plugins
from robustcmr.config.resolve import RunConfig, resolve
from robustcmr.errors import UserError
from robustcmr.files import to_yaml
from robustcmr.runs.read import SavedRun, find_runs
from robustcmr.runs.single import single_splits

CSV = RESULTS / "leaderboard.csv"
ALWAYS, BEST = ("robust", "rce", "l2rm"), 5
USUAL_EPOCHS = 12
"""The length of a run that methods' default lengths in epochs are made for."""

MEASURES = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")
SAME = ("data", "matcher", "method", "protocol", "noise", "seed")
"""Columns by which rows are of the same planned run."""

# the same sizes and schedule for every method
BASES: dict[str, dict[str, Any]] = {
    "scenes": {"data": {"name": "scenes"}, "training": {"epochs": 12}},
    "f8k": {
        "data": {"name": "f8k"},
        "text": {"min_count": 4},
        "optim": {"lr": 1e-3, "milestones": [5], "decay": 0.1, "clip": 2.0},
        "training": {"epochs": 6, "batch_size": 128},
    },
    "quick": {
        "data": {
            **{"name": "scenes", "n_train": 200, "n_dev": 60, "n_test": 1, "max_objects": 4},
            **{"attribute_dropout": 0, "synonyms": False},
        },
        "optim": {"lr": 4e-3, "milestones": [3]},
        "training": {"epochs": 4, "batch_size": 64},
    },
}
MATCHERS: dict[str, dict[str, dict[str, Any]]] = {
    "vse_infty": {data: {"dim": 128} for data in BASES},
    "omit": {"scenes": {}, "quick": {}, "f8k": {"dim": 256, "word_dim": 300, "region_hidden": 128}},
}


@dataclass(frozen=True)
class Block:
    """Runs of one sweep: every method at every noise level, but for rows that there are.

    Attributes:
        data: a key of ``BASES``.
        stage: 1 or 2.
        matcher: a key of ``MATCHERS``.
        noises: (protocol, ratio), the most useful first.
        seed: of all of them.
        methods: by name.
    """

    data: str
    stage: int
    matcher: str
    noises: tuple[tuple[str, float], ...]
    seed: int
    methods: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its sweep folder."""
        return f"{self.data}-{self.stage}-{self.matcher}-seed{self.seed}"

    def cells(self) -> Iterator[tuple[tuple[str, float], str]]:
        """Noise and method of each run, in order."""
        return product(self.noises, self.methods)

    def key(self, noise: tuple[str, float], method: str) -> tuple[str, ...]:
        """What the columns ``SAME`` of its row hold."""
        return (self.data, self.matcher, method, noise[0], f"{noise[1]:g}", str(self.seed))

    def config(self, noise: tuple[str, float], method: str) -> RunConfig:
        """The resolved configuration of a run."""
        base = self.base()
        base["data"] = {"root": ".", **base["data"]} if self.data == "f8k" else base["data"]
        changes = {key.partition(".")[2]: value for key, value in shorter(method, self.data).items()}
        made = {"protocol": noise[0], "ratio": noise[1]}
        return resolve({**base, "noise": made, "method": {"name": method, **changes}, "seed": self.seed})

    def label(self, method: str) -> str:
        """Name of a method in the sweep, other if its options are, so that no trial is taken for another."""
        return f"{method}-{options_hash(self.config(self.noises[0], method))[:6]}"

    def base(self) -> dict[str, Any]:
        """What all its runs have in common."""
        matcher = {"name": self.matcher, **MATCHERS[self.matcher][self.data]}
        # dev chooses the epoch and is reported; no test split is looked at
        return {**BASES[self.data], "matcher": matcher, "evaluation": {"test": None}}

    def sweep(self, done: Iterable[tuple[tuple[str, float], str]]) -> dict[str, Any]:
        """The sweep file of the runs that are not done."""
        noises = [
            {"label": label(noise), "noise.protocol": noise[0], "noise.ratio": noise[1]}
            for noise in self.noises
        ]
        methods = [
            {"label": self.label(name), "method.name": name, **shorter(name, self.data)}
            for name in self.methods
        ]
        excluded = [{"noise": label(noise), "method": self.label(method)} for noise, method in done]
        return {
            "name": self.name,
            "base": self.base(),
            "grid": {"noise": noises, "method": methods},
            "exclude": excluded,
            "seeds": [self.seed],
        }


def label(noise: tuple[str, float]) -> str:
    """Such as ``caption0.4``."""
    return f"{noise[0]}{noise[1]:g}"


def pair_methods() -> tuple[str, ...]:
    """The methods of the pairs track that this package registers; InfoNCE, plain training, comes first."""
    names = []
    for name in plugins.methods.names():
        place = plugins.methods.announced(name) or ""
        if place.startswith("robustcmr.") and plugins.methods.load(name).track == "pairs":  # type: ignore[attr-defined]
            names.append(name)
    return tuple(sorted(names, key=lambda name: (name != "infonce", name)))


def shorter(method: str, data: str) -> dict[str, int]:
    """Options of a method that count epochs, by dotted key, scaled to the length of the run."""
    epochs = BASES[data]["training"]["epochs"]
    if epochs == USUAL_EPOCHS:
        return {}
    fields = plugins.methods.load(method).Config.model_fields  # type: ignore[attr-defined]
    changes = {}
    for name, info in fields.items():
        counts = type(info.default) is int and "epoch" in f"{name} {info.description}"
        scaled = max(1, round(info.default * epochs / USUAL_EPOCHS)) if counts and info.default else None
        if scaled is not None and scaled != info.default:
            changes[f"method.{name}"] = scaled
    return changes


def stage_one(
    data: str, seeds: Sequence[int] = (0, 1), noises: Sequence[float] = (0.4, 0.8, 0.0)
) -> list[Block]:
    """All methods on VSE-infinity, a block a seed."""
    levels = tuple(("caption", ratio) for ratio in noises)
    return [Block(data, 1, "vse_infty", levels, seed, pair_methods()) for seed in seeds]


def stage_two(data: str, rows: Sequence[Row]) -> list[Block]:
    """Ours, rce, l2rm and the best five others on two matchers; none before stage 1 is in for a seed."""
    chosen = best(data, rows)
    if not chosen:
        return []
    noises = (("caption", 0.4), ("caption", 0.8), ("caption", 0.6), ("image", 0.4))
    return [
        Block(data, 2, matcher, noises, seed, chosen)
        for seed in (0, 1, 2)
        for matcher in ("omit", "vse_infty")
    ]


def best(data: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Methods of stage 2: by dev rSum of one network on VSE-infinity, mean over 0.4, 0.8 and seeds."""
    means: dict[str, float] = {}
    for name in pair_methods():
        found: dict[str, list[float]] = {"0.4": [], "0.8": []}
        for row in rows:
            same = (row["data"], row["matcher"], row["method"], row["protocol"]) == (
                data,
                "vse_infty",
                name,
                "caption",
            )
            if same and row["noise"] in found and row["seed"] in ("0", "1"):
                found[row["noise"]].append(float(row["single_rsum"]))
        if not all(found.values()):
            return ()
        means[name] = fmean(fmean(values) for values in found.values())
    others = sorted((name for name in means if name not in ALWAYS), key=lambda name: -means[name])
    return (*(name for name in ALWAYS if name in means), *others[:BEST])


def blocks(data: Sequence[str], rows: Sequence[Row]) -> list[Block]:
    """All that is planned, the most useful first."""
    first = [stage_one(name) for name in data]
    second = [stage_two(name, rows) for name in data]
    by_seed = [block for group in zip(*first, strict=True) for block in group]
    length = max(map(len, second), default=0)
    return [*by_seed, *(group[place] for place in range(length) for group in second if place < len(group))]


def options_hash(config: RunConfig | Mapping[str, Any]) -> str:
    """Hash of the resolved options of matcher, method, optimiser and training; the machine's do not count."""
    tree = config.to_dict() if isinstance(config, RunConfig) else config
    kept = {key: tree[key] for key in ("matcher", "method", "optim", "text")}
    kept["training"] = {key: tree["training"][key] for key in ("epochs", "batch_size", "precision")}
    kept["data"] = {key: value for key, value in tree["data"].items() if key != "root"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]


def present_hash(row: Row) -> str:
    """The hash that a run of this row would have now."""
    noise = (row["protocol"], float(row["noise"]))
    block = Block(row["data"], 0, row["matcher"], (noise,), int(row["seed"]), (row["method"],))
    return options_hash(block.config(noise, row["method"]))


def key_of(row: Row) -> tuple[str, ...]:
    """Which planned run a row is of."""
    return tuple(str(row[name]) for name in SAME)


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Rows sorted by their run, new ones in place of old ones of the same run."""
    by_key = {key_of(row): row for row in [*old, *new]}
    return [by_key[key] for key in sorted(by_key)]


def row_of(run: SavedRun, data: str) -> Row:
    """The row of a finished run."""
    results, config = run.results, run.config
    select = results["selection_split"]
    ensemble = results["splits"][select] if results["n_models"] > 1 else {}
    single = single_splits(results).get(select) or results["splits"][select]
    division = results.get("findings", {}).get("division", {})
    changes = shorter(results["method"], data)
    rate = results.get("findings", {}).get("noise_rate")
    return {
        "data": data,
        "fingerprint": results["data_fingerprint"][:16],
        "matcher": results["matcher"],
        "method": results["method"],
        "changes": " ".join(f"{key}={value}" for key, value in changes.items()),
        "protocol": config["noise"]["protocol"],
        "noise": f"{config['noise']['ratio']:g}",
        "noise_hash": str(results["noise_hash"])[:16],
        "seed": str(results["seed"]),
        "epochs": results["epochs"],
        "best_epoch": results["best_epoch"],
        "split": select,
        "n_models": results["n_models"],
        **{f"single_{key}": round(single[key], 2) for key in MEASURES},
        **{f"ensemble_{key}": round(ensemble[key], 2) if ensemble else "" for key in MEASURES},
        **rounded(division, ("auroc", "average_precision", "calibration_error")),
        "noise_rate": "" if rate is None else round(rate, 4),
        "seconds": results["seconds"],
        "threads": run.environment.get("torch_threads", ""),
        "torch": run.environment.get("packages", {}).get("torch", ""),
        "cpu": run.environment.get("processor", ""),
        "robustcmr": run.version,
        "options": options_hash(config),
    }


def collect(folder: Path, data: Sequence[str]) -> list[Row]:
    """Rows of all finished runs in the sweeps of a folder."""
    rows = []
    for name in data:
        for sweep in sorted(folder.glob(f"{name}-*")):
            if (sweep / "trials").is_dir():
                rows += [row_of(run, name) for run in find_runs([sweep / "trials"]).finished]
    return rows


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
        """Run what is missing of a block; False if it was stopped."""
        done = self.done(block)
        total = len(list(block.cells()))
        print(f"{block.name}: {len(done)} of {total} rows are in", flush=True)
        if len(done) == total:
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
    while todo := [block for block in planned(data, board.rows) if block not in ran]:
        ran.add(todo[0])
        if options.dry_run:
            print(f"{todo[0].name}: {len(board.done(todo[0]))} of {len(list(todo[0].cells()))} rows are in")
        elif not board.run(todo[0]):
            break
    if options.quick:
        print(leaderboard_page.tables(board.rows, methods_page.costs()))
    elif not options.dry_run:
        write_pages()


def planned(data: Sequence[str], rows: Sequence[Row]) -> list[Block]:
    """The blocks of the data, as far as the rows allow to choose them."""
    return stage_one("quick", seeds=[0], noises=[0.4]) if list(data) == ["quick"] else blocks(data, rows)


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
    leaderboard_page.write(leaderboard_page.page(rows, methods_page.costs(), total))
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
