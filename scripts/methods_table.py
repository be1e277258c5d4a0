"""Methods over noise protocols, noise rates and seeds, each an ordinary run folder.

    python scripts/methods_table.py --jobs 2                           # everything on the embedded scenes
    python scripts/methods_table.py --rows hinge robust --noise caption:0.4 --seeds 0
    python scripts/methods_table.py --ablation --jobs 2                # one change of robust a row
    python scripts/methods_table.py --recipe f8k_robust --data-root DIR --noise caption:0.4 --seeds 0
    python scripts/methods_table.py --omit infonce                     # variants of OMIT under a method

Finished runs are kept, so the script can be stopped and restarted; a row of the CSV is a run. Prints mean and
standard deviation over seeds as Markdown.
"""

from __future__ import annotations

from run_table import Changes, Row, make_table, rounded, splits, table_parser

MEASURES = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")
DIVISION = ("auroc", "average_precision", "f1", "calibration_error", "suspected", "noise_rate")
REMATCHING = ("plan", "chance", "row_max", "row_max_same_mass")
NOISES = ["caption:0", "caption:0.2", "caption:0.4", "caption:0.6", "caption:0.8", "image:0.4", "image:0.8"]
ROWS: Changes = {name: (name, {}) for name in ("hinge", "infonce", "rce", "l2rm", "robust")}
# one change of robust at a time
ABLATION = {
    "robust": {},
    "no division first": {"divide_first": "false"},
    "no rematching": {"rematch_weight": "0"},
    "no teacher": {"teacher_decay": "null"},
    "estimated noise rate": {"most_wrong": "1"},
    "one batch": {"groups": "mixed"},
    "two batches": {"groups": "split"},
    "warm-up 2 epochs": {"warmup_epochs": "2"},
    "warm-up 6 epochs": {"warmup_epochs": "6"},
}
VARIANTS = ("none", "global_full", "global_local", "prompt", "dummy", "mass")
# what OMIT may leave unmatched, on dev
OMIT = {
    f"{variant}, {smoothing}": {"matcher.partial": variant, "matcher.smoothing": smoothing}
    for variant in VARIANTS
    for smoothing in ("0.02", "0.05")
}
OMIT["dummy, 0.05, T 10"] = {**OMIT["dummy, 0.05"], "matcher.iterations": "10"}
OMIT |= {
    f"bins of {mass}, 0.05": {"matcher.partial": "bins", "matcher.bin_mass": mass} for mass in ("0.2", "0.4")
}


def main() -> None:
    """Train what is missing, then write and print the table."""
    parser = table_parser(__doc__)
    parser.add_argument("--noise", nargs="+", help="PROTOCOL:RATIO each")
    parser.add_argument("--recipe", help="a shipped recipe or a file; the embedded scenes by default")
    parser.add_argument("--omit", metavar="METHOD", help="measure the variants of OMIT under a method")
    options = parser.parse_args()
    data = "scenes" if options.recipe is None else options.recipe.partition("_")[0]
    kind = "robust_ablation" if options.ablation else "methods"
    kind += "" if options.ablation and data == "scenes" else f"_{data}"
    known = {name: ("robust", change) for name, change in ABLATION.items()} if options.ablation else ROWS
    if options.omit is not None:
        kind, known = "omit_partial", {name: (options.omit, change) for name, change in OMIT.items()}
    noises = options.noise or (["caption:0.4", "caption:0.8"] if options.ablation else NOISES)
    seeds = options.seeds or ([0, 1] if options.ablation else [0, 1, 2])

    def train(name: str, noise: str, seed: int) -> tuple[str, list[str]]:
        protocol, _, ratio = noise.partition(":")
        recipe = [] if options.recipe is None else ["--config", options.recipe]
        begin = [*recipe, "--noise", ratio, "--noise-protocol", protocol]
        if options.omit is None:
            return f"{name}-{protocol}-{ratio}-{seed}", begin
        folder = f"{data}-{options.omit}-{name}-{protocol}-{ratio}-{seed}".replace(",", "")
        return folder, [*begin, "--set", "evaluation.test=null"]

    def of_variant(results: Row, epochs: list[Row]) -> Row:
        return {"data": data, "method": options.omit, "epochs": len(epochs), **row(results, epochs)}

    keys = [*(f"SPLIT_{key}" for key in MEASURES), "auroc", "noise_rate", "rematch_plan", "seconds"]
    made, same = (
        (row, ()) if options.omit is None else (of_variant, ("data", "method", "row", "noise", "seed"))
    )
    make_table(options, kind, known, "noise", noises, seeds, train, made, keys, same)


def row(results: Row, epochs: list[Row]) -> Row:
    """Return what the CSV says of a run."""
    found = results.get("findings", {})
    return {
        "ratio_realised": round(results["noise_ratio_realised"], 4),
        "n_models": results["n_models"],
        "selection_split": results["selection_split"],
        **splits(results, MEASURES),
        "last_dev_rsum": round(epochs[-1]["dev"]["rsum"], 2),
        **rounded(found.get("division", {}), DIVISION),
        **rounded(found.get("rematch", {}), REMATCHING, "rematch_"),
    }


if __name__ == "__main__":
    main()
