"""Methods for noisy class labels, over noise rates and seeds, each an ordinary run folder.

    python scripts/labels_table.py --jobs 2                                   # embedded labelled scenes
    python scripts/labels_table.py --data labelled --data-root DIR --jobs 2   # files of your own
    python scripts/labels_table.py --ablation --jobs 2                        # one change of UOT-RCL a row

Finished runs are kept, so the script can be stopped and restarted; a row of the CSV is a run. Rows of other
data sets stay in the CSV. Prints mean and standard deviation over seeds as Markdown.
"""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path

from run_table import RESULTS, Changes, Row, measure, rounded, splits, summary, table_parser, write_rows

MEASURES = ("map", "map_i2t", "map_t2i", "map_at_50")
CORRECTION = ("given_accuracy", "corrected_accuracy", "repaired", "broken", "auroc", "calibration_error")
ROWS: Changes = {"cross entropy": ("label_ce", {}), "MRL": ("mrl", {}), "UOT-RCL": ("uot_rcl", {})}
# one change at a time
ABLATION = {
    "UOT-RCL": {},
    "no semantic alignment": {"semantic": "false"},
    "no relation alignment": {"relation": "false"},
    "neither": {"semantic": "false", "relation": "false"},
    "alike trust": {"trust": "false"},
    "no neighbours": {"neighbour_share": "0"},
    "one rate of wrong labels": {"transitions": "common"},
    "rates of each class, less drawn to one": {"pseudo_counts": "20"},
    "given labels not weighed": {"transitions": "none"},
    "estimated prior": {"prior": "estimated"},
    "uniform prior": {"prior": "uniform"},
    "mass 0.95 from the start": {"mass_start": "0.95"},
    "mass up to 0.7": {"mass_end": "0.7"},
    "no momentum": {"momentum": "0"},
    "warm-up 5 epochs": {"warmup_epochs": "5"},
    "20 neighbours of half the say": {"neighbours": "20", "neighbour_share": "0.5"},
    "relation by cosines too": {"relation_cost": "both"},
    "relation weight 0.3": {"relation_weight": "0.3"},
    "contrast temperature 0.5": {"contrast_temperature": "0.5"},
    "contrast temperature 1": {"contrast_temperature": "1"},
}


def main() -> None:
    """Train what is missing, then write and print the table."""
    parser = table_parser(__doc__)
    parser.add_argument("--data", default="scenes-labels")
    parser.add_argument("--ratios", nargs="+", help="shares of wrong labels")
    parser.add_argument("--kind", default="symmetric", help="kind of noise")
    options = parser.parse_args()
    table = "labels_ablation" if options.ablation else "labels"
    options.runs = options.runs or Path("runs") / table
    known = {name: ("uot_rcl", change) for name, change in ABLATION.items()} if options.ablation else ROWS
    ratios = options.ratios or (["0.6"] if options.ablation else ["0", "0.2", "0.4", "0.6", "0.8"])
    seeds = options.seeds or ([0, 1, 2] if options.ablation else [0, 1, 2, 3, 4])

    def train(name: str, ratio: str, seed: int) -> tuple[str, list[str]]:
        begin = ["--data", options.data, "--noise", ratio, "--noise-kind", options.kind]
        return f"{options.data}-{name}-{options.kind}-{ratio}-{seed}", begin

    def row(name: str, ratio: str, seed: int, results: Row, epochs: list[Row]) -> Row:
        correction = results.get("findings", {}).get("correction", {})
        return {
            "data": options.data,
            "row": name,
            "kind": options.kind,
            "ratio": ratio,
            "seed": seed,
            "protocol": results["protocol"],
            "data_fingerprint": results["data_fingerprint"],
            "noise_hash": results["noise_hash"][:16],
            "matcher": results["matcher"],
            "best_epoch": results["best_epoch"],
            **splits(results, MEASURES),
            "last_dev_map": round(epochs[-1]["dev"]["map"], 2),
            **rounded(correction, CORRECTION),
            **rounded(epochs[-1], ["noise_rate"]),
        }

    names, rows = measure(options, known, ratios, seeds, train, row)
    output = options.output or RESULTS / f"{table}.csv"
    write_rows(output, [*other_rows(output, rows), *rows])
    split = "test" if "test_map" in rows[0] else "dev"
    keys = [f"{split}_map_i2t", f"{split}_map_t2i", f"{split}_map", *CORRECTION, "noise_rate"]
    for ratio, name in product(ratios, names):
        chosen = [each for each in rows if (each["row"], each["ratio"]) == (name, ratio)]
        print(summary([ratio, name], chosen, keys))
    print(f"written to {output}")


def other_rows(path: Path, new: list[Row]) -> list[Row]:
    """Return the rows of the CSV that are of other data sets or kinds of noise."""
    if not path.exists():
        return []
    fresh = {(row["data"], row["kind"]) for row in new}
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if (row["data"], row["kind"]) not in fresh]


if __name__ == "__main__":
    main()
