"""Methods for noisy class labels, over noise rates and seeds, each an ordinary run folder.

    python scripts/labels_table.py --jobs 2                                   # embedded labelled scenes
    python scripts/labels_table.py --data labelled --data-root DIR --jobs 2   # files of your own
    python scripts/labels_table.py --ablation --jobs 2                        # one change of UOT-RCL a row

Finished runs are kept, so the script can be stopped and restarted; a row of the CSV is a run. Rows of other
data sets stay in the CSV. Prints mean and standard deviation over seeds as Markdown.
"""

from __future__ import annotations

from run_table import Changes, Row, make_table, rounded, splits, table_parser

MEASURES = ("map", "map_i2t", "map_t2i", "map_at_50")
CORRECTION = ("given_accuracy", "corrected_accuracy", "repaired", "broken", "auroc", "calibration_error")
ROWS: Changes = {
    "cross entropy": ("label_ce", {}),
    "DSCMR": ("dscmr", {}),
    "MRL": ("mrl", {}),
    "RSHNL": ("rshnl", {}),
    "NIRNL": ("nirnl", {}),
    "UOT-RCL": ("uot_rcl", {}),
}
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
    known = {name: ("uot_rcl", change) for name, change in ABLATION.items()} if options.ablation else ROWS
    ratios = options.ratios or (["0.6"] if options.ablation else ["0", "0.2", "0.4", "0.6", "0.8"])
    seeds = options.seeds or ([0, 1, 2] if options.ablation else [0, 1, 2, 3, 4])

    def train(name: str, ratio: str, seed: int) -> tuple[str, list[str]]:
        begin = ["--data", options.data, "--noise", ratio, "--noise-kind", options.kind]
        return f"{options.data}-{name}-{options.kind}-{ratio}-{seed}", begin

    def row(results: Row, epochs: list[Row]) -> Row:
        return {
            "data": options.data,
            "kind": options.kind,
            **splits(results, MEASURES),
            "last_dev_map": round(epochs[-1]["dev"]["map"], 2),
            **rounded(results.get("findings", {}).get("correction", {}), CORRECTION),
            **rounded(epochs[-1], ["noise_rate"]),
        }

    keys = ["SPLIT_map_i2t", "SPLIT_map_t2i", "SPLIT_map", *CORRECTION, "noise_rate"]
    make_table(options, table, known, "ratio", ratios, seeds, train, row, keys, same=("data", "kind"))


if __name__ == "__main__":
    main()
