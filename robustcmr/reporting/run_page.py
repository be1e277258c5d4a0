"""The page of one run, from its small files and whatever its model and its data add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from robustcmr.reporting import run_charts
from robustcmr.reporting.cards import Alignment, QueryCard, SuspectCard, SuspectedLabelCard
from robustcmr.reporting.charts import Chart, Table
from robustcmr.reporting.pages import Section, render
from robustcmr.reporting.sentences import (
    by_model,
    findings_sentences,
    noise_sentence,
    percent,
    retrieval_sentence,
    warning_sentences,
)
from robustcmr.runs.read import SavedRun
from robustcmr.runs.single import named_splits, single_splits

LARGEST = 9_500_000
"""Bytes of a page, beyond which its gallery is cut."""

FIRST = 12
"""Cards shown at once; more are folded away."""

_RANKS = {
    f"{way}: {kind} rank of the right answer": f"{key}_{kind}_rank"
    for way, key in (("image to text", "i2t"), ("text to image", "t2i"))
    for kind in ("median", "mean")
}
_LABELS_RIGHT = {
    "given labels that are right": "given_accuracy",
    "corrected labels that are right": "corrected_accuracy",
    **{name: key for name, key in run_charts.CORRECTIONS.items() if key != "changed"},
    "calibration error of the confidence": "calibration_error",
    "pairs with a wrong label": "wrong_pairs",
}


@dataclass(frozen=True)
class Extras:
    """What a page shows beyond the small files of a run.

    Attributes:
        evidence: the evidence against the training pairs, drawn; or None.
        suspects: worst first.
        labels: suspected labels, most evidence first.
        requested: how many cards were requested; None where that does not matter.
        suspected: how many pairs are suspected, or labels corrected, in all; None where that is not known.
        queries: best and worst queries under a heading each.
        queried: the split they are of.
        alignments: plans between regions and words.
        confusion: labels by true class, drawn; or None.
        notes: sentences by section, ``suspects``, ``queries``, ``alignment`` or ``correction``: why it shows
            nothing, or less.
    """

    evidence: Chart | None = None
    suspects: Sequence[SuspectCard] = ()
    labels: Sequence[SuspectedLabelCard] = ()
    requested: int | None = None
    suspected: int | None = None
    queries: Sequence[tuple[str, Sequence[QueryCard]]] = ()
    queried: str = "test"
    alignments: Sequence[Alignment] = ()
    confusion: Chart | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


def run_page(run: SavedRun, extras: Extras) -> str:
    """Return the page as HTML, at most :data:`LARGEST` bytes: of a larger gallery the worst are kept."""
    version = run.results.get("robustcmr_version")
    foot = f"Made by robustcmr report{f' from a run of robustcmr {version}' if version is not None else ''}."
    title = f"Run {run.path.absolute().name}"
    while True:
        page = render("run.html.j2", title, _lead(run), list(_sections(run, extras)), foot)
        size, cards = len(page.encode()), len(extras.suspects) + len(extras.labels)
        if size <= LARGEST or not cards:
            return page
        kept = int(0.95 * cards * LARGEST / size)
        extras = replace(extras, suspects=extras.suspects[:kept], labels=extras.labels[:kept])


def _lead(run: SavedRun) -> str:
    config, made = run.config, run.config.get("noise", {})
    noise = f"{percent(made.get('ratio') or 0.0)} noise ({made.get('kind')}, {made.get('protocol')} protocol)"
    if run.results:
        noise = noise_sentence(run.results)
    parts = f"{config['matcher']['name']} trained by {config['method']['name']} on {config['data']['name']}"
    return f"{parts}, seed {config.get('seed')}; {noise}."


def _sections(run: SavedRun, extras: Extras) -> Iterator[Section]:
    """The parts of the page; the template adds the sentences of those whose kind it knows."""
    content = {"run": run, "extras": extras, "first": FIRST}
    yield _results(run, content)
    training = [run_charts.measure_chart(run.rows, run.select), run_charts.loss_chart(run.rows)]
    if run.track == "labels":
        yield Section("suspects", "Suspected labels", (), "suspected-labels", content)
        yield Section("training", "Training", (), "training", content, charts=training)
        yield _corrections(run, extras)
    else:
        yield Section("suspects", "Suspects", (), "suspects", content)
        yield Section("training", "Training", (), "training", content, charts=training)
        yield _division(run, extras)
        yield _rematching(run)
        yield Section("queries", "Queries", (), "queries", content)
        yield Section("alignment", "Regions and words", (), "alignment", content)
    yield _details(run, content)


def _results(run: SavedRun, content: Mapping[str, Any]) -> Section:
    """How well it retrieves and how many pairs look wrong; or how far an unfinished run has come."""
    results, splits, tables = run.results, run.results.get("splits", {}), []
    split = next((name for name in splits if name != run.select), run.select)
    alone = single_splits(results)
    if splits:
        shown = named_splits(results)
        best = f"epoch {results['best_epoch']} of {results['epochs']}, best on {run.select}"
        labelled = run.headline == "map"
        keys = _map_measures(splits) if labelled else {"rSum": "rsum", **run_charts.RECALLS}
        tables = [_by_split(f"Measures in percent, {best}", shown, keys)]
        if not labelled:
            tables.append(_by_split(f"Ranks, {best}", shown, _RANKS))
    text = [*warning_sentences(results), *([retrieval_sentence(results, split)] if splits else [])]
    text += findings_sentences(results)
    content = {**content, "text": text, "split": split, "alone": bool(alone)}
    return Section("results", "Results", (), "results", content, tables)


def _map_measures(splits: Mapping[str, Any]) -> dict[str, str]:
    """Keys of mAP by name: the whole ranking, and every length R that was measured."""
    keys = {key for measures in splits.values() for key in measures if key.startswith("map_at_")}
    ends = {"": "", **{f"@{n}": f"_at_{n}" for n in sorted(int(key.removeprefix("map_at_")) for key in keys)}}
    ways = {"mAP": "map", "image to text mAP": "map_i2t", "text to image mAP": "map_t2i"}
    return {name + at: key + end for at, end in ends.items() for name, key in ways.items()}


def _by_split(caption: str, splits: Mapping[str, Any], keys: Mapping[str, str]) -> Table:
    rows = [(name, *(measures.get(key) for measures in splits.values())) for name, key in keys.items()]
    known = [row for row in rows if any(value is not None for value in row[1:])]
    return Table(caption, ("measure", *splits), known, "percent")


def _undecided(run: SavedRun, key: str, title: str, what: str, does: str) -> Section:
    """A section of a method that estimates nothing, or of a run that has not yet."""
    why = f"The method {run.config['method']['name']} does not {does}."
    return Section(key, title, [why if run.results else f"No {what} yet."])


def _division(run: SavedRun, extras: Extras) -> Section:
    """Which pairs are suspected, with what confidence, and how precisely."""
    title, found = "Clean or mismatched", run.results.get("findings", {})
    if not found and not any("suspected" in row for row in run.rows):
        return _undecided(run, "division", title, "pair has been divided", "say which pairs look wrong")
    text, tables = [], []
    if found:
        text.append(f"{found['reason'][0].upper()}{found['reason'][1:]}.")
    if measured := found.get("division"):
        names = {**run_charts.DIVISION, "calibration error": "calibration_error"}
        rows = [(name, measured[key]) for name, key in names.items() if key in measured]
        text.append(run_charts.PRECISION_RECALL)
        caption = f"Suspects {by_model(run.results)} against the truth, in percent"
        tables.append(Table(caption, ("measure", "value"), rows, "share"))
    if not any("division" in row for row in run.rows):
        text.append(
            "Precision by epoch is not shown: the truth is not known, or no epoch began with a division."
        )
    charts = [extras.evidence, *run_charts.division_charts(run.rows)]
    return Section("division", title, text, tables=tables, charts=charts)


def _rematching(run: SavedRun) -> Section:
    """Precision of rematching, the moved mass, and the convergence of the solver."""
    rows, text, tables = run.rows, [], []
    scored = [row for row in rows if "rematch" in row]
    if not scored:
        text.append(
            "Captions were rematched, but the truth is not known, so it is not scored."
            if any("rematch_loss" in row for row in rows)
            else "No caption was rematched in this run."
        )
    best = run.best_epoch
    for row in scored:
        if row["epoch"] == best:
            names, rules = run_charts.DRAWN, run_charts.DRAWN_RULES
            if run_charts.moves_mass(rows):
                names = {**run_charts.REMATCH, "mass moved, of all captions'": "mass"}
                rules = run_charts.REMATCH_RULES
            shown = [(name, row["rematch"].get(key)) for name, key in names.items()]
            text.append(rules)
            when = f"while epoch {best} (the best) was trained"
            caption = f"Rematched captions that fit, in percent, {when}"
            tables.append(Table(caption, ("rule", "value"), shown, "share"))
    solver = run_charts.solver_charts(rows)
    if run_charts.moves_mass(rows) and not any(solver):
        text.append("The run logged nothing about the convergence of its transport solver.")
    charts = [*run_charts.rematching_charts(rows), *solver]
    return Section("rematching", "Rematching", text, tables=tables, charts=charts)


def _corrections(run: SavedRun, extras: Extras) -> Section:
    """Corrected labels and their accuracy."""
    title, found = "Corrections", run.results.get("findings", {})
    scored = any("correction" in row for row in run.rows)
    if not found and not scored:
        return _undecided(run, "correction", title, "label has been corrected", "correct labels")
    text, tables = [], []
    measured = found.get("correction") or {}
    if found:
        rows = [("pairs changed", found.get("changed")), ("mean confidence", found.get("confidence"))]
        rows += [(name, measured[key]) for name, key in _LABELS_RIGHT.items() if key in measured]
        caption = f"Labels {by_model(run.results)}, in percent"
        tables.append(Table(caption, ("measure", "value"), rows, "share"))
    if not scored and not measured:
        text.append("How right the labels are is not shown: the truth is not known here.")
    if extras.confusion is None and "correction" in extras.notes:
        text.append(extras.notes["correction"])
    charts = [
        *run_charts.label_charts(run.rows, run.select),
        *run_charts.solver_charts(run.rows),
        extras.confusion,
        run_charts.scope_chart(run.results.get("splits", {})),
    ]
    return Section("correction", title, text, tables=tables, charts=charts)


def _details(run: SavedRun, content: Mapping[str, Any]) -> Section:
    """Command, data, noise, machine, cost and configuration, folded away."""
    config, results, environment = run.config, run.results, run.environment
    noise, requested = results.get("noise", {}), config.get("noise", {})
    ratio, realised = results.get("noise_ratio", requested.get("ratio")), results.get("noise_ratio_realised")
    peak = results.get("peak_memory_bytes", {})
    facts = {
        "The run": {
            "run folder": run.path.absolute().name,
            "data": config["data"]["name"],
            "matcher": config["matcher"]["name"],
            "method": config["method"]["name"],
            "seed": config.get("seed"),
            "models": results.get("n_models"),
            "training pairs": results.get("training_pairs"),
            "data fingerprint": results.get("data_fingerprint"),
            "package version": results.get("robustcmr_version"),
        },
        "The noise": {
            "kind": results.get("noise_kind", requested.get("kind")),
            "protocol": results.get("protocol", requested.get("protocol")),
            "noise requested": None if ratio is None else percent(ratio),
            "noise realised": None if realised is None else percent(realised),
            "seed of the noise": noise.get("seed"),
            "source": noise.get("source"),
            "hash": results.get("noise_hash"),
        },
        "Time and memory": {
            "training time (s)": results.get("seconds"),
            **{f"peak memory, {name} (MiB)": size / 2**20 for name, size in peak.items()},
            "weights": results.get("parameters"),
            "device": results.get("device"),
            "precision": results.get("precision"),
        },
        "Machine": {
            key.replace("_", " "): ", ".join(map(str, value)) if isinstance(value, list) else value
            for key, value in environment.items()
            if key not in ("command", "packages") and value not in (None, [])
        },
        "Versions": dict(environment.get("packages", {})),
    }
    tables = [
        Table(caption, (), [(name, value) for name, value in values.items() if value is not None])
        for caption, values in facts.items()
    ]
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    charts = [*run_charts.cost_charts(run.rows), *run_charts.other_charts(run.rows)]
    return Section("run", "Details", (), "run", {**content, "config": text}, tables, charts, folded=True)
