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
from robustcmr.reporting.sentences import findings_sentences, noise_sentence, percent, retrieval_sentence
from robustcmr.runs.read import SavedRun

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
    **run_charts.CORRECTIONS,
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
    """Write the whole page, at most :data:`LARGEST` bytes: of a larger gallery the worst cards are kept.

    Args:
        run: the small files of the run.
        extras: what the model and the data gave.

    Returns:
        HTML text.
    """
    version = run.results.get("robustcmr_version")
    foot = "Made by robustcmr report" + (
        f" from a run of robustcmr {version}." if version is not None else "."
    )
    title = f"Run {run.path.absolute().name}"
    while True:
        page = render("run.html.j2", title, _lead(run), list(_sections(run, extras)), foot)
        size, cards = len(page.encode()), len(extras.suspects) + len(extras.labels)
        if size <= LARGEST or not cards:
            return page
        kept = int(0.95 * cards * LARGEST / size)
        extras = replace(extras, suspects=extras.suspects[:kept], labels=extras.labels[:kept])


def _lead(run: SavedRun) -> str:
    config, results = run.config, run.results
    parts = f"{config['matcher']['name']} trained by {config['method']['name']} on {config['data']['name']}"
    made = config.get("noise", {})
    if results:
        noise = noise_sentence(results)
    else:
        noise = (
            f"{percent(made.get('ratio') or 0.0)} noise ({made.get('kind')}, {made.get('protocol')} protocol)"
        )
    return f"{parts}, seed {config.get('seed')}; {noise}."


def _sections(run: SavedRun, extras: Extras) -> Iterator[Section]:
    notes = extras.notes
    yield _results(run)
    if run.track == "labels":
        yield _suspected_labels(extras)
    else:
        yield _suspects(extras)
    yield _training(run)
    if run.track == "labels":
        yield _corrections(run, extras)
    else:
        yield _judging(run, extras)
        yield _rematching(run)
        text = [
            f"On the {extras.queried} split, with the best epoch. Lead: the score of the best right "
            "answer less "
            "that of the best wrong one. Best queries have the largest lead, worst the lowest rank."
        ]
        content = {"groups": extras.queries, "first": FIRST // 4}
        said = [*(text if extras.queries else []), *_note(notes, "queries")]
        yield Section("queries", "Queries", said, "queries", content)
        text = [
            "Over each word, the regions of the picture that its mass comes from: the deeper the "
            "tint, the more; "
            "the strongest has a bold frame. Pictures and captions belong together."
        ]
        said = [*(text if extras.alignments else []), *_note(notes, "alignment")]
        yield Section("alignment", "Regions and words", said, "alignment", {"cards": extras.alignments})
    yield _details(run)


def _note(notes: Mapping[str, str], key: str) -> list[str]:
    return [notes[key]] if key in notes else []


def _results(run: SavedRun) -> Section:
    """How well it retrieves and how many pairs look wrong; or how far an unfinished run has come."""
    results = run.results
    if not results:
        done, epochs = len(run.rows), run.config.get("training", {}).get("epochs")
        said = (
            f"This run has not finished: {done} of {epochs} epochs are done, and the best epoch has not been "
            f"evaluated yet. Resume it with 'robustcmr train --resume {run.path}'."
        )
        return Section("results", "Results", [said])
    splits, labelled = results["splits"], run.headline == "map"
    text = findings_sentences(results)
    if results["n_models"] > 1:
        text.append(f"The scores are those of an ensemble of {results['n_models']} models.")
    if not splits:
        return Section("results", "Results", text)
    split = next((name for name in splits if name != run.select), run.select)
    text.insert(0, retrieval_sentence(results, split))
    keys = label_measures(splits) if labelled else {"rSum": "rsum", **run_charts.RECALLS}
    best = f"epoch {results['best_epoch']} of {results['epochs']}, best on {run.select}"
    tables = [_by_split(f"Measures in percent, {best}", splits, keys, "percent")]
    if not labelled:
        tables.append(_by_split(f"Ranks, {best}", splits, _RANKS, "percent"))
    content = {
        "text": text,
        "name": "mAP" if labelled else "rSum",
        "best": splits[split][run.headline],
        "unit": "%" if labelled else "",
        "of": f"on {split}" if labelled else f"of 600 on {split}, the sum of six recalls",
    }
    return Section("results", "Results", (), "results", content, tables)


def label_measures(splits: Mapping[str, Any]) -> dict[str, str]:
    """Keys of mAP by name: the whole ranking, and every length R that was measured."""
    keys = {key for measures in splits.values() for key in measures if key.startswith("map_at_")}
    ends = {"": "", **{f"@{n}": f"_at_{n}" for n in sorted(int(key.removeprefix("map_at_")) for key in keys)}}
    ways = {"mAP": "map", "image to text mAP": "map_i2t", "text to image mAP": "map_t2i"}
    return {name + at: key + end for at, end in ends.items() for name, key in ways.items()}


def _by_split(caption: str, splits: Mapping[str, Any], keys: Mapping[str, str], form: Any) -> Table:
    rows = [(name, *(measures.get(key) for measures in splits.values())) for name, key in keys.items()]
    return Table(
        caption, ("measure", *splits), [row for row in rows if any(v is not None for v in row[1:])], form
    )


def _suspects(extras: Extras) -> Section:
    cards, text = extras.suspects, []
    if cards and extras.suspected is not None:
        text = [
            f"The worst {len(cards):,} of {extras.suspected:,} suspected pairs, worst first. Evidence "
            "is computed by "
            "the method against a pair, such as its loss: larger is worse. Margin: by how much the "
            "suggested picture "
            "scores higher than the given one."
        ]
        if any(card.plan for card in cards) and any(card.plan is None for card in cards):
            text.append("Pairs without a rematching were in no rematched batch of the last epoch.")
    text += _cut(len(cards), extras)
    content = {"cards": cards, "first": FIRST}
    return Section("suspects", "Suspects", [*text, *_note(extras.notes, "suspects")], "suspects", content)


def _cut(shown: int, extras: Extras) -> list[str]:
    """A sentence where fewer cards are shown than requested and there are."""
    there = min(extras.requested or 0, extras.suspected or 0)
    if shown >= there:
        return []
    return [f"{there:,} were requested; {shown:,} are shown, to keep the page below 10 MB."]


def _suspected_labels(extras: Extras) -> Section:
    cards, text = extras.labels, []
    if cards and extras.suspected is not None:
        text = [
            f"The {len(cards):,} most suspected of {extras.suspected:,} corrected labels. Confidence: the "
            "probability of the corrected class; evidence: against the given class, larger is worse."
        ]
    content = {"cards": cards, "first": FIRST}
    text += [*_cut(len(cards), extras), *_note(extras.notes, "suspects")]
    return Section("suspects", "Suspected labels", text, "suspected-labels", content)


def _training(run: SavedRun) -> Section:
    rows = run.rows
    text = []
    if len(rows) < 2:
        text = ["No epoch has ended yet." if not rows else "One epoch has ended, so there are no curves yet."]
        text += [f"Its loss was {rows[0]['loss']:.4f}."] if rows else []
    charts = [run_charts.measure_chart(rows, run.select), run_charts.loss_chart(rows)]
    return Section("training", "Training", text, charts=charts)


def _judging(run: SavedRun, extras: Extras) -> Section:
    """Which pairs are suspected, how surely, and how rightly."""
    title, results = "Judging the pairs", run.results
    found = results.get("findings", {})
    if not found and not any("suspected" in row for row in run.rows):
        why = "No pair has been judged yet."
        if results:
            why = f"The method {run.config['method']['name']} does not say which pairs look wrong."
        return Section("judging", title, [why])
    text: list[str] = []
    tables: list[Table] = []
    if found:
        text.append(f"{found['reason'][0].upper()}{found['reason'][1:]}.")
    if found.get("division"):
        names = {**run_charts.DIVISION, "calibration error": "calibration_error"}
        rows = [(name, found["division"][key]) for name, key in names.items() if key in found["division"]]
        text.append(run_charts.PRECISION_RECALL)
        epoch = results.get("best_epoch")
        caption = f"Suspicions of the best epoch, {epoch}, against the truth, in percent"
        tables.append(Table(caption, ("measure", "value"), rows, "share"))
    if not any("division" in row for row in run.rows):
        text.append(
            "How right the suspicions are is not shown by epoch: the truth is not known, or no epoch "
            "began with a "
            "division."
        )
    charts = [extras.evidence, *run_charts.judging_charts(run.rows)]
    return Section("judging", title, text, tables=tables, charts=charts)


def _rematching(run: SavedRun) -> Section:
    """How much of the rematched mass is right, how much was moved, and how the solver did."""
    rows = run.rows
    text: list[str] = []
    tables: list[Table] = []
    judged = [row for row in rows if "rematch" in row]
    if not judged:
        text.append(
            "Captions were rematched, but the truth is not known, so the plans are not judged."
            if any("rematch_loss" in row for row in rows)
            else "No caption was rematched in this run."
        )
    best = next((row for row in judged if row["epoch"] == run.best_epoch), None)
    if best is not None:
        found = best["rematch"]
        shown = [(name, found.get(key)) for name, key in run_charts.REMATCH.items()]
        text.append(run_charts.REMATCH_RULES)
        shown.append(("mass moved, of all captions'", found.get("mass")))
        caption = (
            f"Rematched captions that fit, in percent, while epoch {best['epoch']} (the best) was trained"
        )
        tables.append(Table(caption, ("rule", "value"), shown, "share"))
    solver = [chart for chart in run_charts.solver_charts(rows) if chart is not None]
    if judged and not solver:
        text.append("The run logged nothing about the convergence of its transport solver.")
    charts = [*run_charts.rematching_charts(rows), *solver]
    return Section("rematching", "Rematching", text, tables=tables, charts=charts)


def _corrections(run: SavedRun, extras: Extras) -> Section:
    """What became of the labels."""
    title, results = "Corrections", run.results
    found = results.get("findings", {})
    judged = any("correction" in row for row in run.rows)
    if not found and not judged:
        why = "No label has been corrected yet."
        if results:
            why = f"The method {run.config['method']['name']} does not correct labels."
        return Section("correction", title, [why])
    text: list[str] = []
    tables: list[Table] = []
    if found:
        rows: list[tuple[Any, ...]] = [
            ("pairs changed", found.get("changed")),
            ("mean confidence", found.get("confidence")),
        ]
        measured = found.get("correction") or {}
        rows += [
            (name, measured[key])
            for name, key in _LABELS_RIGHT.items()
            if key in measured and key != "changed"
        ]
        epoch = results.get("best_epoch")
        tables.append(
            Table(f"Labels by the best epoch, {epoch}, in percent", ("measure", "value"), rows, "share")
        )
    if not judged and not found.get("correction"):
        text.append("How right the labels are is not shown: the truth is not known here.")
    if extras.confusion is None:
        text += _note(extras.notes, "correction")
    rows_of = run.rows
    charts = [
        *run_charts.label_charts(rows_of, run.select),
        *run_charts.solver_charts(rows_of),
        extras.confusion,
    ]
    if results:
        charts.append(run_charts.scope_chart(results["splits"]))
    return Section("correction", title, text, tables=tables, charts=charts)


def _percent(share: float | None) -> str | None:
    return None if share is None else percent(share)


def _details(run: SavedRun) -> Section:
    """Command, data, noise, machine, cost and configuration, folded away."""
    results, environment = run.results, run.environment
    noise, config = results.get("noise", {}), run.config
    requested = config.get("noise", {})
    peak = {
        f"peak memory, {name} (MiB)": size / 2**20
        for name, size in results.get("peak_memory_bytes", {}).items()
    }
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
            "noise requested": _percent(results.get("noise_ratio", requested.get("ratio"))),
            "noise realised": _percent(results.get("noise_ratio_realised")),
            "seed of the noise": noise.get("seed"),
            "source": noise.get("source"),
            "hash": results.get("noise_hash"),
        },
        "Time and memory": {
            "training time (s)": results.get("seconds"),
            **peak,
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
    content = {
        "command": run.command,
        "config": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
    }
    charts = [*run_charts.cost_charts(run.rows), *run_charts.other_charts(run.rows)]
    return Section("run", "Details", (), "run", content, tables, charts, folded=True)
