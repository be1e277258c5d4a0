"""The page docs/leaderboard.md, made of scripts/results/leaderboard.csv and methods_cost.csv alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from run_table import Row

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "leaderboard.md"
NAMES = {"scenes": "Embedded scenes", "f8k": "Flickr8K", "quick": "Few scenes, a quick look"}
MATCHERS = {"vse_infty": "VSE-infinity", "omit": "OMIT"}
FOUND = {"auroc": "AUROC", "average_precision": "AP", "calibration_error": "ECE", "noise_rate": "noise"}
"""Columns of a division against the truth, by their heading."""

HEAD = """# Leaderboard

Every method that robustcmr has for mismatched pairs, trained alike. `bash scripts/leaderboard.sh` trains
what is missing and writes this page from `scripts/results/leaderboard.csv`, where a row is a run.

**What is compared.** One data set, one matcher, the same mismatched pairs for each seed, the same batches
of 128, the same optimiser, and equally many epochs: 12 on the embedded scenes, 6 on Flickr8K (learning
rate 1e-3, a tenth of it from epoch 6 on). Each method has its default options. On Flickr8K those that
count epochs are halved, as the defaults are made for 12 epochs; the column `changes` of the CSV lists
them. No option was tuned on these runs, for our method neither, with one exception: the scores of DECL,
NCR, BiCro and IN2R collapsed once they took the hardest negatives, so that their defaults now keep more
of them. Equal epochs are not equal time: the cost of a step is beside.

**What is measured.** The sum of the six recalls in percent (rSum, at most 600) of the epoch that is best
on the dev split, on that split: figures are a little too good, for all methods alike. No test split was
looked at. ± is the standard deviation over seeds. "Single" is one network: of a method that trains two,
the mean of both, each alone. An ensemble averages the scores of both and stands in a table of its own; do
not compare it with single networks. A cell says how many seeds it has where it is not the usual number.

**How well wrong pairs are found**, against the hidden truth at the best epoch: AUROC and average
precision (AP) of the suspicion, calibration error (ECE), and the estimated noise rate, all in percent;
empty where a method estimates nothing.

**Cost** is the time of a training step, relative to plain training (`infonce`), from
`scripts/results/methods_cost.csv`. [The methods](methods.md) says what each of them does.

**Published figures.** Papers train longer, on other features and matchers, and often name an ensemble.
Hold orders against them, not numbers: `robustcmr compare --published f30k` prints what is known with
backbone, protocol and number of models; the rows are in `robustcmr/reporting/published.csv`, and the last
table below repeats them.
"""


def write(text: str, path: Path = PAGE) -> None:
    """Write a page."""
    path.write_text(text, encoding="utf-8")
    print(f"written to {path}")


def page(
    rows: Sequence[Row],
    costs: Mapping[tuple[str, str], float],
    total: Mapping[str, tuple[int, int]],
    methods: Sequence[str],
) -> str:
    """Return the whole page.

    Args:
        rows: of the CSV, as texts.
        costs: of a step relative to plain training, by matcher and method.
        total: by data set, how many planned runs are in, and how many there are.
        methods: all that there are.
    """
    counts = ", ".join(f"{have} of {all_} on {NAMES[data]}" for data, (have, all_) in total.items())
    state = (
        f"Runs that are in: {counts}. Those of OMIT are planned once every method has run on VSE-infinity."
    )
    missing = [method for method in methods if method not in {row["method"] for row in rows}]
    if missing:
        state += f" Methods without any run so far: {', '.join(missing)}."
    return "\n".join([HEAD, state, "", tables(rows, costs), "## Published figures\n", published()])


def tables(rows: Sequence[Row], costs: Mapping[tuple[str, str], float]) -> str:
    """Return the tables of each data set and matcher, or a sentence where there are no rows."""
    if not rows:
        return "No run is in yet.\n"
    return "\n".join(_tables(rows, costs))


def _tables(rows: Sequence[Row], costs: Mapping[tuple[str, str], float]) -> Iterator[str]:
    for data in [name for name in NAMES if any(row["data"] == name for row in rows)]:
        for matcher in [name for name in MATCHERS if any(_is(row, data, name) for row in rows)]:
            chosen = [row for row in rows if _is(row, data, matcher)]
            prints = sorted({row["fingerprint"] for row in chosen})
            yield f"## {NAMES[data]}, {MATCHERS[matcher]}\n"
            yield f"Data {', '.join(prints)}; {len(chosen)} runs.\n"
            for kind, words in (("single", "Single networks"), ("ensemble", "Ensembles of two networks")):
                there = [row for row in chosen if row[f"{kind}_rsum"]]
                if there:
                    yield f"{words}, rSum on dev by noise:\n"
                    yield recall_table(there, f"{kind}_rsum", costs)
            late = sorted({row["method"] for row in chosen if row["best_epoch"] == row["epochs"]})
            if late:
                names = ", ".join(f"`{name}`" for name in late)
                yield f"Best in the last epoch of a run, so that longer training may lift them: {names}.\n"
            found = [row for row in chosen if row["auroc"] or row["noise_rate"]]
            if found:
                yield "Wrong pairs found, in percent, mean over seeds:\n"
                yield detection_table(found)


def recall_table(rows: Sequence[Row], key: str, costs: Mapping[tuple[str, str], float]) -> str:
    """Methods by noise, the best mean of a column in bold; ordered by their mean over what all have."""
    levels = _levels(rows)
    cells = {(row["method"], _level(row)): [] for row in rows}
    for row in rows:
        cells[row["method"], _level(row)].append(float(row[key]))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    common = [
        level for level in levels if level[1] != "0" and all((name, level) in cells for name in methods)
    ]
    order = sorted(methods, key=lambda name: (-sum(fmean(cells[name, level]) for level in common), name))
    usual = {
        level: max(len(cells[name, level]) for name in methods if (name, level) in cells) for level in levels
    }
    best = {
        level: max(fmean(cells[name, level]) for name in methods if (name, level) in cells)
        for level in levels
    }
    lines = [["method", *map(_words, levels), "cost of a step"]]
    for name in order:
        line = [f"`{name}`"]
        for level in levels:
            values = cells.get((name, level), [])
            text = f"{fmean(values):.1f}" if values else ""
            text += f" ± {stdev(values):.1f}" if len(values) > 1 else ""
            text = f"**{text}**" if values and fmean(values) == best[level] and len(methods) > 1 else text
            few = f" ({len(values)} seed{'s' if len(values) > 1 else ''})"
            line.append(text + (few if values and len(values) < usual[level] else ""))
        cost = costs.get((rows[0]["matcher"], name))
        lines.append([*line, "" if cost is None else f"{cost:.1f}"])
    return table(lines)


def detection_table(rows: Sequence[Row]) -> str:
    """How well each method finds the wrong pairs, by noise."""
    levels = [level for level in _levels(rows) if level[1] != "0"]
    lines = [["method", *(f"{_words(level)}: {' / '.join(FOUND.values())}" for level in levels)]]
    for name in sorted({row["method"] for row in rows}):
        line = [f"`{name}`"]
        for level in levels:
            same = [row for row in rows if (row["method"], _level(row)) == (name, level)]
            means = [[float(row[key]) for row in same if row[key]] for key in FOUND]
            line.append(
                " / ".join(f"{100 * fmean(values):.1f}" if values else "–" for values in means)
                if same
                else ""
            )
        lines.append(line)
    return table(lines) if levels else ""


def published() -> str:
    """The rows of published.csv on pairs."""
    from robustcmr.reporting.published import published_rows

    lines = [["data", "noise", "method (backbone)", "models", "rSum", "source"]]
    for row in published_rows():
        if row.setting.track == "pairs" and row.mean is not None:
            lines.append(
                [
                    row.setting.data,
                    row.noise,
                    row.method,
                    str(row.n_models),
                    f"{row.mean:.1f}",
                    row.source or "",
                ]
            )
    return table(lines)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first line its head."""
    head, *body = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, f"|{'---|' * len(lines[0])}", *body, ""])


def _is(row: Row, data: str, matcher: str) -> bool:
    return (row["data"], row["matcher"]) == (data, matcher)


def _level(row: Row) -> tuple[str, str]:
    return row["protocol"], row["noise"]


def _levels(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return sorted({_level(row) for row in rows}, key=lambda level: (level[0], float(level[1])))


def _words(level: tuple[str, str]) -> str:
    return f"{100 * float(level[1]):g}% {level[0]}" if level[1] != "0" else "none"
