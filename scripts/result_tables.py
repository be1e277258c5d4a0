"""Tables of the measured results, each from CSVs in scripts/results and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean, stdev

from leaderboard_page import table
from run_table import RESULTS, Row, read_rows

from robustcmr.reporting.significance import seed_test

HELD = "\N{NO-BREAK SPACE}"
"""Keeps the deviation by its sign where a narrow cell is broken."""

METHODS = {
    "hinge": "hinge, hardest negatives",
    "infonce": "InfoNCE",
    "rce": "RCE",
    "l2rm": "L2RM",
    "robust": "robust",
}
ON_SCENES = {**METHODS, "l2rm": "L2RM, of before"}
"""What was measured when OMIT matched all mass says so."""
CAPTIONS = {f"caption:{ratio}": f"{100 * float(ratio):g}%" for ratio in ("0", "0.2", "0.4", "0.6", "0.8")}
NOISES = {**CAPTIONS, "image:0.4": "40% image, of before", "image:0.8": "80% image, of before"}
RATIOS = {key.partition(":")[2]: name for key, name in CAPTIONS.items()}
RECALLS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10")
CHANGES = {
    "robust": "none",
    "estimated noise rate": "noise rate as estimated (`most_wrong` 1)",
    "one batch": "always one batch",
    "two batches": "always two batches",
}
"""Rows of the ablation of ``robust`` whose name in the CSV says too little."""

FOUND = ("auroc", "noise_rate", "rematch_plan")

LABEL_DATA = {"scenes-labels": ("scenes-labels, test", "test_map"), "labelled": ("Wikipedia, dev", "dev_map")}
CORRECTIONS = {
    "corrected_accuracy": "right after correction",
    "repaired": "wrong labels repaired",
    "broken": "right labels made wrong",
    "auroc": "AUROC of finding wrong labels",
    "noise_rate": "estimated share of wrong labels",
}
PARTS = {
    "neither": "neither",
    "no semantic alignment": "relation alone",
    "no relation alignment": "semantic alone",
    "UOT-RCL": "both",
}
LABEL_CHANGES = {
    "UOT-RCL": "none",
    "alike trust": "equal trust in all labels",
    "no neighbours": "no neighbours",
    "one rate of wrong labels": "one rate of wrong labels for all classes",
    "rates of each class, less drawn to one": "rates of each class, regularised less",
    "given labels not weighed": "given labels not weighted by their rates",
    "estimated prior": "estimated prior of the classes",
    "uniform prior": "uniform prior of the classes",
    "mass 0.95 from the start": "mass 0.95 from the start",
    "mass up to 0.7": "mass up to 0.7",
    "no momentum": "no running mean of the targets",
    "warm-up 5 epochs": "warm-up of 5 epochs",
    "20 neighbours of half the say": "20 neighbours of weight one half",
    "relation by cosines too": "plans by cosines too",
    "relation weight 0.3": "relation weight 0.3",
    "contrast temperature 0.5": "contrast temperature 0.5",
    "contrast temperature 1": "contrast temperature 1",
}
SOLVERS = {
    "NumPy loop": "NumPy loop of the same iteration",
    "POT partial": "POT `entropic_partial`",
    "POT batch, dummies": "POT batched, with dummies",
}
SPEED = {
    "score": "OMIT scores",
    "evaluation": "OMIT evaluation",
    "steps": "",
    "embeddings": "`embeddings`",
    "whole_set": "whole-set rematching",
    "near_duplicates": "",
    "start": "",
}
"""Benchmarks in the table of speed, and what is put before their rows."""


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation; empty without values, the mean alone of one."""
    if not values:
        return ""
    return f"{fmean(values):.{digits}f}" + (f" ±{HELD}{stdev(values):.{digits}f}" if len(values) > 1 else "")


def pick(rows: Iterable[Row], key: str, factor: float = 1.0, **where: str) -> list[float]:
    """Numbers of a column, in the rows that hold the given texts."""
    chosen = (row for row in rows if all(row[name] == value for name, value in where.items()))
    return [factor * float(row[key]) for row in chosen if row[key]]


def best_bold(lines: Sequence[list[str]], means: Sequence[Sequence[float]]) -> list[list[str]]:
    """Put the cells of the best mean of each column in bold; the first column holds names."""
    best = [max(column) for column in zip(*means, strict=True)]
    return [
        [name, *(f"**{c}**" if m == b else c for c, m, b in zip(cells, line, best, strict=True))]
        for (name, *cells), line in zip(lines, means, strict=True)
    ]


def scenes_rsum() -> str:
    """Test rSum on the scenes by method and noise, over seeds."""
    return _scenes(NOISES, spread)


def scenes_short() -> str:
    """The same for moved captions alone, of today, without deviations."""
    today = {name: title for name, title in ON_SCENES.items() if name != "l2rm"}
    return _scenes(CAPTIONS, lambda values: f"{fmean(values):.1f}", today)


def _scenes(
    noises: Mapping[str, str],
    written: Callable[[Sequence[float]], str],
    methods: Mapping[str, str] = ON_SCENES,
) -> str:
    rows = read_rows(RESULTS / "methods_scenes.csv")
    found = [[pick(rows, "test_rsum", row=name, noise=noise) for noise in noises] for name in methods]
    lines = [[title, *map(written, values)] for title, values in zip(methods.values(), found, strict=True)]
    means = [[fmean(values) for values in line] for line in found]
    return table([["method", *noises.values()], *best_bold(lines, means)])


def sweep() -> str:
    """Area below each curve, and distance from ``robust`` with its interval."""
    rows = read_rows(RESULTS / "noise_sweep.csv")
    names = sorted(
        {row["method"] for row in rows}, key=lambda name: -pick(rows, "robustness_area", method=name)[0]
    )
    lines = [["method", "area", *RATIOS.values(), "p"]]
    for name in names:
        mine = {float(row["noise_ratio"]): row for row in rows if row["method"] == name}
        first = next(iter(mine.values()))
        line = [
            METHODS[name],
            f"{float(first['robustness_area']):.1f} ±{HELD}{float(first['robustness_area_std']):.1f}",
        ]
        for ratio in RATIOS:
            row = mine[float(ratio)]
            keys = ("difference_queries", "low_queries", "high_queries")
            line.append(_interval(*(float(row[key]) for key in keys)) if row[keys[0]] else "")
        lines.append([*line, "" if name == "robust" else _p_value(name)])
    return table(lines)


def _interval(difference: float, low: float, high: float) -> str:
    return f"{difference:+.1f} [{low:+.1f},{HELD}{high:+.1f}]".replace("-", "−")


def _p_value(name: str) -> str:
    """Over the pairs of runs of equal seed and ratio, whose rSum is in methods_scenes.csv."""
    rows = read_rows(RESULTS / "methods_scenes.csv")
    by_run = {(row["row"], row["noise"], row["seed"]): float(row["test_rsum"]) for row in rows}
    pairs = [run[1:] for run in by_run if run[0] == name and run[1] in CAPTIONS]
    found = seed_test([by_run[name, *pair] - by_run["robust", *pair] for pair in pairs]).p_value
    if found is None:
        return ""
    return "< 0.001" if found < 0.001 else f"{found:.3f}"


def scenes_estimates() -> str:
    """How well L2RM and ``robust`` estimate what is wrong, in percent, by noise."""
    rows = read_rows(RESULTS / "methods_scenes.csv")
    keys = {
        "auroc": "AUROC of finding wrong pairs",
        "noise_rate": "estimated share of wrong pairs",
        "calibration_error": "calibration error",
        "rematch_plan": "rematched mass on a fitting picture",
    }
    lines = [["estimate", "method", *NOISES.values()]]
    for key, title in keys.items():
        for name in ("l2rm", "robust"):
            values = [pick(rows, key, 100, row=name, noise=noise) for noise in NOISES]
            if key == "noise_rate" and not values[0]:  # nothing was divided; what it suspects is its estimate
                values[0] = pick(rows, "suspected", 100, row=name, noise="caption:0")
            if any(values):
                lines.append([title, ON_SCENES[name], *map(spread, values)])
    return table(lines)


def division() -> str:
    """How well a mixture and a reference divide, in percent, by share of wrong captions."""
    rows = read_rows(RESULTS / "methods_scenes.csv")
    kinds = {"l2rm": "`l2rm` (mixture)", "robust": "`robust` (reference)"}
    keys = {"auroc": "AUROC", "calibration_error": "calibration error"}
    lines = [["wrong pairs", *(f"{title}, {kind}" for title in keys.values() for kind in kinds.values())]]
    for ratio in ("0.2", "0.4", "0.6", "0.8"):
        cells = [
            _one(pick(rows, key, 100, row=name, noise=f"caption:{ratio}")) for key in keys for name in kinds
        ]
        lines.append([f"{float(ratio):.0%}", *cells])
    return table(lines)


def ablation() -> str:
    """One change of ``robust`` a row, on the scenes."""
    return _ablation("robust_ablation.csv")


def ablation_f8k() -> str:
    """The same on Flickr8K."""
    return _ablation("robust_ablation_f8k.csv")


def _ablation(file: str) -> str:
    """RSum by share of wrong captions, and what is found, by change."""
    rows = read_rows(RESULTS / file)
    levels = [level for level in CAPTIONS if any(row["noise"] == level for row in rows)]
    head = ["change", *(f"rSum at {CAPTIONS[level]}" for level in levels), "AUROC", "estimated share"]
    lines = [[*head, "captions true of the image drawn"]]
    for name in dict.fromkeys(row["row"] for row in rows):
        found = {key: [pick(rows, key, 100, row=name, noise=level) for level in levels] for key in FOUND}
        sums = [spread(pick(rows, "dev_rsum", row=name, noise=level)) for level in levels]
        means = [" / ".join(map(_one, values)) if any(values) else "–" for values in found.values()]
        lines.append([CHANGES.get(name, name), *sums, *means])
    return table(lines)


def _one(values: Sequence[float], digits: int = 1) -> str:
    return f"{fmean(values):.{digits}f}" if values else "–"


def f8k_methods() -> str:
    """Dev rSum on Flickr8K by method."""
    rows = read_rows(RESULTS / "methods_f8k.csv")
    noises = ("caption:0.4", "caption:0.8")
    sums = [[fmean(pick(rows, "dev_rsum", row=name, noise=noise)) for noise in noises] for name in METHODS]
    lines = best_bold(
        [[title, *map("{:.1f}".format, line)] for title, line in zip(METHODS.values(), sums, strict=True)],
        sums,
    )
    for name, line in zip(METHODS, lines, strict=True):
        minutes = [pick(rows, "seconds", 1 / 60, row=name, noise=noise) for noise in noises]
        line.append(" / ".join(map(_one, minutes)))
    return table([["method", "40%", "80%", "minutes"], *lines])


def matchers_scenes() -> str:
    """Matchers under ``robust`` on the scenes."""
    return _matchers("matchers_scenes")


def matchers_f8k() -> str:
    """Matchers under two methods on Flickr8K."""
    return _matchers("matchers_f8k")


def _matchers(name: str) -> str:
    rows = read_rows(RESULTS / f"{name}.csv")
    best = max(float(row["rsum"]) for row in rows)
    head = ["matcher", "method", "image → text R@1 / 5 / 10", "text → image R@1 / 5 / 10", "rSum"]
    lines = [[*head, "parameters", "seconds an epoch", "pairs scored a second"]]
    matchers = list(dict.fromkeys(row["matcher"] for row in rows))
    for row in sorted(rows, key=lambda row: matchers.index(row["matcher"])):
        recalls = [f"{float(row[key]):.1f}" for key in RECALLS]
        total = f"{float(row['rsum']):.1f}"
        line = [f"`{row['matcher']}`", f"`{row['method']}`", " / ".join(recalls[:3]), " / ".join(recalls[3:])]
        line += [f"**{total}**" if float(row["rsum"]) == best else total, f"{int(row['parameters']):,}"]
        lines.append([*line, f"{float(row['epoch_seconds']):.1f}", f"{int(row['pairs_a_second']):,}"])
    return table(lines)


def labels_map() -> str:
    """MAP by data, method and noise."""
    rows = read_rows(RESULTS / "labels.csv")
    lines = [["data", "method", *RATIOS.values()]]
    for data, (title, key) in LABEL_DATA.items():
        for name in dict.fromkeys(row["row"] for row in rows if row["data"] == data):
            values = (pick(rows, key, data=data, row=name, kind="symmetric", ratio=ratio) for ratio in RATIOS)
            lines.append([title, name, *map(spread, values)])
    return table(lines)


def labels_corrections() -> str:
    """How well UOT-RCL corrects labels, in percent."""
    rows = read_rows(RESULTS / "labels.csv")
    lines = [["data", "estimate", *RATIOS.values()]]
    for data, (title, _) in LABEL_DATA.items():
        for key, words in CORRECTIONS.items():
            where = {"data": data, "row": "UOT-RCL", "kind": "symmetric"}
            values = (pick(rows, key, 100, ratio=ratio, **where) for ratio in RATIOS)
            lines.append([title.partition(",")[0], words, *map(spread, values)])
    return table(lines)


def labels_parts() -> str:
    """Each part of UOT-RCL alone, and both."""
    rows = read_rows(RESULTS / "labels_ablation.csv")
    lines = [["data", *PARTS.values()]]
    for data, (title, _) in LABEL_DATA.items():
        values = (pick(rows, "dev_map", data=data, row=name) for name in PARTS)
        lines.append([title.partition(",")[0], *map(spread, values)])
    return table(lines)


def labels_choices() -> str:
    """Other changes of UOT-RCL on the labelled scenes, on the seeds that all have."""
    rows = read_rows(RESULTS / "labels_ablation.csv")
    rows = [row for row in rows if row["data"] == "scenes-labels" and row["seed"] in ("0", "1")]
    lines = [["change", "mAP"]]
    for name, title in LABEL_CHANGES.items():
        lines.append([title, spread(pick(rows, "dev_map", row=name))])
    return table(lines)


def speed() -> str:
    """Ours beside a reference, from the benchmarks."""
    lines = [["what", "ours", "reference", "times better", "of the limit"]]
    for name, before in SPEED.items():
        for row in read_rows(RESULTS / f"{name}.csv"):
            if not row["what"]:
                continue
            reference = ""
            if row["reference"]:
                reference = f"{_amount(row['reference'], row['unit'])}, {row['reference_is']}".replace(
                    "python -c 'import torch'", "`import torch`"
                )
            share = f"{float(row['floor_share']):.0%}" if row["floor_share"] else ""
            what = row["what"].replace(" x ", " × ")
            if name == "start":
                command, _, when = what.partition(", ")
                what = f"`{command}`, {when}"
            what = f"{before}: {what}" if before else what
            lines.append([what, _amount(row["ours"], row["unit"]), reference, row["ratio"], share])
    return table(lines)


def _amount(number: str, unit: str) -> str:
    value = float(number)
    if unit == "s" and value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def transport() -> str:
    """Times of solvers as multiples of ours."""
    rows = [row for row in read_rows(RESULTS / "transport.csv") if row["solver"]]
    lines = [["problem", "epsilon", "n", "ours, ms", *SOLVERS.values()]]
    for group in _problems(rows):
        where = {key: group[0][key] for key in ("partners", "batch", "epsilon")}
        sizes = sorted({row["n"] for row in group}, key=int)
        ours = [pick(group, "seconds", 1000, solver="robustcmr", n=n) for n in sizes]
        line = [where["partners"] + ("" if where["batch"] == "1" else f", {where['batch']} at once")]
        line += [where["epsilon"], " / ".join(sizes), " / ".join(map(_short, ours))]
        for solver in SOLVERS:
            times = [pick(group, "ratio", solver=solver, n=n) for n in sizes]
            line.append(" / ".join(map(_short, times)))
        lines.append(line)
    return table(lines)


def _problems(rows: Sequence[Row]) -> Iterator[list[Row]]:
    keys = ("partners", "batch", "epsilon")
    for key in dict.fromkeys(tuple(row[name] for name in keys) for row in rows):
        yield [row for row in rows if tuple(row[name] for name in keys) == key]


def _short(values: Sequence[float]) -> str:
    """Two or three digits of the only value; a dash without one."""
    if not values:
        return "–"
    (value,) = values
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


TABLES: dict[str, Callable[[], str]] = {
    made.__name__: made
    for made in (
        *(scenes_short, scenes_rsum, sweep, scenes_estimates, division, ablation, ablation_f8k, f8k_methods),
        *(matchers_scenes, matchers_f8k, labels_map, labels_corrections, labels_parts, labels_choices),
        *(speed, transport),
    )
}
