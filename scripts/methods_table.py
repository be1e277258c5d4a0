"""Methods over noise protocols, ratios and seeds, each an ordinary run folder.

    python scripts/methods_table.py --jobs 2                           # everything on the embedded scenes
    python scripts/methods_table.py --rows hinge l2rm --noise caption:0.4 --seeds 0
    python scripts/methods_table.py --ablation --jobs 2                # one change of l2rm at a time
    python scripts/methods_table.py --recipe f8k_l2rm --data-root DIR --noise caption:0.4 --seeds 0

Finished runs are kept, so that it can be stopped and started again; a row of the CSV is a run. Prints mean
and standard deviation over seeds as Markdown.
"""

from __future__ import annotations

import argparse
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from finished_run import finished_run, write_rows

RESULTS = Path(__file__).parent / "results"
MEASURES = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")
BELIEFS = ("auroc", "average_precision", "f1", "calibration_error", "suspected", "noise_rate")
REMATCHES = ("plan", "chance", "row_max", "row_max_same_mass")
NOISES = ("caption:0", "caption:0.2", "caption:0.4", "caption:0.6", "caption:0.8", "image:0.4", "image:0.8")

# name -> method and its options
ROWS = {
    "hinge": ("hinge", {}),
    "infonce": ("infonce", {}),
    "rce": ("rce", {}),
    "l2rm-legacy": ("l2rm", {"legacy": "true"}),
    "l2rm": ("l2rm", {}),
}
# one change at a time
ABLATION = {
    "l2rm": {},
    "no rematching": {"rematch_weight": "0"},
    "uniform weights of targets": {"weighting": "uniform"},
    "cost 1 - score": {"cost": "similarity"},
    "released rematching": {"solver": "dummies", "weighting": "uniform", "rematch_loss": "kl"},
    "mass 0.9, epsilon 0.05": {"mass": "0.9", "epsilon": "0.05"},
    "no agreement": {"agreement": "0"},
    "no teacher": {"agreement": "0", "teacher_decay": "null"},
    "Beta mixture of hinges": {"mixture": "beta"},
    "hard weights": {"clean_weights": "equal"},
    "believed as estimated": {"most_wrong": "1"},
    "one batch": {"streams": "mixed"},
    "two batches": {"streams": "split"},
    "hardest hinge on clean pairs": {"clean_loss": "hinge"},
    "warm-up 2 epochs": {"warmup_epochs": "2"},
    "warm-up 6 epochs": {"warmup_epochs": "6"},
}


def main() -> None:
    """Run what is missing, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", nargs="+", help="methods of the table, or changes of the ablation")
    parser.add_argument("--noise", nargs="+", help="PROTOCOL:RATIO each")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--ablation", action="store_true", help="change one thing of l2rm at a time, on dev")
    parser.add_argument("--recipe", help="a shipped recipe or a file, in place of the embedded scenes")
    parser.add_argument("--data-root", type=Path, help="folder of the recipe's data")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="more settings for all rows"
    )
    parser.add_argument("--runs", type=Path, help="where the run folders are kept")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, help="threads a run; by default the cores shared by the jobs")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    data = "scenes" if options.recipe is None else options.recipe.partition("_")[0]
    kind = "l2rm_ablation" if options.ablation else f"l2rm_{data}"
    common = ["--config", options.recipe] if options.recipe else []
    common += ["--data-root", str(options.data_root)] if options.data_root else []
    common += [part for setting in options.set for part in ("--set", setting)]
    common += ["--set", "evaluation.test=null"] if options.ablation else []
    known = {name: ("l2rm", change) for name, change in ABLATION.items()} if options.ablation else ROWS
    names = options.rows or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"unknown rows {', '.join(unknown)}; expected some of {', '.join(known)}")
    noises = options.noise or (["caption:0.4", "caption:0.8"] if options.ablation else list(NOISES))
    seeds = options.seeds or ([0, 1] if options.ablation else [0, 1, 2])
    folder = options.runs or Path("runs") / kind
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    grid = list(product(seeds, noises, names))
    with ThreadPoolExecutor(options.jobs) as pool:
        tasks = [
            pool.submit(run, name, *known[name], noise, seed, folder, threads, common)
            for seed, noise, name in grid
        ]
        rows = [task.result() for task in tasks]
    output = options.output or RESULTS / f"{kind}.csv"
    write_rows(output, rows)
    for noise, name in product(noises, names):
        chosen = [row for row in rows if (row["row"], row["noise"]) == (name, noise)]
        print(summary(name, noise, chosen, "test" if "test_rsum" in chosen[0] else "dev"))
    print(f"written to {output}")


def run(
    name: str,
    method: str,
    change: dict[str, str],
    noise: str,
    seed: int,
    folder: Path,
    threads: int,
    common: list[str],
) -> dict[str, Any]:
    """Train one run, or go on with it, and read its results."""
    protocol, _, ratio = noise.partition(":")
    path = folder / f"{name.replace(' ', '_')}-{protocol}-{ratio}-{seed}"
    begin = [*common, "--method", method, "--noise", ratio, "--noise-protocol", protocol, "--seed", str(seed)]
    begin += [part for key, value in change.items() for part in ("--set", f"method.{key}={value}")]
    results, epochs = finished_run(path, begin, threads)
    beliefs = results.get("findings", {})
    division, rematch = beliefs.get("division", {}), beliefs.get("rematch", {})
    measured = {
        f"{split}_{key}": round(values[key], 2)
        for split, values in results["splits"].items()
        for key in MEASURES
    }
    return {
        "row": name,
        "noise": noise,
        "seed": seed,
        "data_fingerprint": results["data_fingerprint"],
        "matcher": results["matcher"],
        "ratio_realised": round(results["noise_ratio_realised"], 4),
        "noise_hash": results["noise_hash"][:16],
        "n_models": results["n_models"],
        "selection_split": results["selection_split"],
        "best_epoch": results["best_epoch"],
        **measured,
        "last_dev_rsum": round(epochs[-1]["dev"]["rsum"], 2),
        **{key: _rounded(division.get(key)) for key in BELIEFS},
        **{f"rematch_{key}": _rounded(rematch.get(key)) for key in REMATCHES},
        "seconds": results["seconds"],
        "threads": threads,
    }


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 4)


def summary(name: str, noise: str, rows: list[dict[str, Any]], split: str) -> str:
    """Mean and standard deviation over seeds, as a row of a Markdown table."""
    cells = []
    measures = (*(f"{split}_{measure}" for measure in MEASURES), "auroc", "noise_rate", "rematch_plan")
    for key in (*measures, "seconds"):
        values = [row[key] for row in rows if row.get(key, "") != ""]
        digits = 1 if key.startswith(split) else 3
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}" if values else "")
    return f"| {noise} | {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
