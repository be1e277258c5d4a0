"""Runs side by side: mean and deviation over seeds, rank, robustness over noise, and what is certain."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean, stdev

from robustcmr.errors import ComparisonError, some_of
from robustcmr.reporting.agreement import Setting, differing, marks, noise_level, refuse_mixtures, settings
from robustcmr.reporting.compared import SHOWN, ComparedRow, Comparison, Difference, PlannedRun
from robustcmr.reporting.method_labels import method_labels
from robustcmr.reporting.robustness import robustness
from robustcmr.reporting.significance import RESAMPLES, over_queries, over_seeds
from robustcmr.runs.read import SavedRun, headline
from robustcmr.runs.single import single_run

Key = tuple[Setting, float, str, int]
"""What the runs of a row share: setting, noise ratio, method and number of models."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def compare(
    runs: Sequence[SavedRun],
    split: str = "test",
    mixed: bool = False,
    against: str | None = None,
    resamples: int = RESAMPLES,
    planned: Sequence[PlannedRun] = (),
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare runs.

    Args:
        runs: finished ones; those that differ in nothing but the seed become one row. Of a method that trains
            several networks there are two rows: the mean of its networks, each alone, and their ensemble.
        split: which of the measured splits.
        mixed: allow runs of different tracks, data, protocols or noise files, and mark every row.
        against: label of the reference method; the best of each setting and ratio if None. Rows are ranked
            among, and differ from, rows of as many models.
        resamples: of the bootstrap over queries.
        planned: all runs that were planned; where some have not finished, ranks are provisional.
        notes: sentences to add to those of the comparison.

    Raises:
        ComparisonError: there are no runs, they do not answer the same question, one lacks the split, or no
            run is of the reference method.
    """
    if not runs:
        raise ComparisonError("there is no finished run to compare; train some, or name other folders")
    singles = [
        alone for run in runs if (alone := single_run(run)) is not None and split in alone.results["splits"]
    ]
    runs = [*runs, *singles]
    found = settings(runs, split)
    if not mixed:
        refuse_mixtures(runs, found)
    fields, labels = differing(found), method_labels(runs)
    if against is not None and against not in labels:
        known = ", ".join(dict.fromkeys(labels))
        raise ComparisonError(
            f"no run is of the method '{against}' given as the reference; expected one of: {known}"
        )
    groups: dict[Key, dict[int, SavedRun]] = {}
    versions = sorted({run.version for run in runs})
    said = list(notes)
    if singles:
        names = ", ".join(sorted({str(run.results["method"]) for run in singles}))
        said.append(
            f"{names}: a row of single models is the mean over the networks of each run, each measured alone"
        )
    if len(versions) > 1:
        said.append(f"the runs were trained by different versions of robustcmr: {', '.join(versions)}")
    for run, setting, label in zip(runs, found, labels, strict=True):
        key = (setting, noise_level(run.results), label, int(run.results["n_models"]))
        seeds = groups.setdefault(key, {})
        first = seeds.setdefault(int(run.results["seed"]), run)
        if first is not run:
            repeated = f"{run.path} repeats {first.path} (same settings and seed) and was left out"
            said += [] if repeated in said else [repeated]
    rows = [_row(*key, dict(sorted(seeds.items())), split, fields) for key, seeds in groups.items()]
    ranked = _ranked(rows)
    tested, more = _tested(ranked, groups, split, against, resamples)
    curves, most = robustness(tested, against)
    said += [*_warned(groups), *_other_epochs(groups), *more, *most]
    return Comparison(split, tuple(tested), tuple(curves), tuple(fields), tuple(said), tuple(planned))


def with_published(comparison: Comparison, published: Sequence[ComparedRow]) -> Comparison:
    """Add rows of :func:`robustcmr.reporting.published.published_rows` behind those of a comparison."""
    data = list(dict.fromkeys(row.setting.data for row in published))
    rows = sorted(
        published, key=lambda row: (data.index(row.setting.data), row.ratio or 0.0, -(row.mean or 0.0))
    )
    ours = {row.setting.data for row in comparison.rows}
    notes = [
        "rows marked 'not measured here' are published figures that were not reproduced with this package"
    ]
    if ours and ours.isdisjoint(data):
        notes.append(
            f"the published rows are of {', '.join(sorted(data))} and the runs of "
            f"{', '.join(sorted(ours))}: they do not answer the same question"
        )
    protocols = {row.setting.protocol for row in comparison.rows} - {None}
    theirs = {str(row.setting.protocol) for row in published if row.setting.data in ours} - protocols
    if protocols and theirs:
        others = ", ".join(sorted(name.removeprefix("protocol ") for name in theirs))
        notes.append(
            f"the protocol of some published rows ({others}) differs from that of the runs "
            f"({', '.join(sorted(map(str, protocols)))}): the same ratio names another experiment there"
        )
    return dataclasses.replace(comparison, rows=(*comparison.rows, *rows), notes=(*comparison.notes, *notes))


def _other_epochs(groups: Mapping[Key, Mapping[int, SavedRun]]) -> list[str]:
    """A note if not all runs were trained for as many epochs."""
    methods: dict[int, set[str]] = {}
    for (_, _, method, _), seeds in groups.items():
        for run in seeds.values():
            if "epochs" in run.results:
                methods.setdefault(int(run.results["epochs"]), set()).add(method)
    if len(methods) < 2:
        return []
    each = "; ".join(f"{epochs}: {some_of(sorted(methods[epochs]))}" for epochs in sorted(methods))
    return [
        f"the runs were trained for different numbers of epochs ({each}), so they differ in more than their "
        "methods"
    ]


def _warned(groups: Mapping[Key, Mapping[int, SavedRun]]) -> list[str]:
    """The warnings of the trainings; of those that differ in their numbers alone, the first."""
    kinds: dict[str, dict[str, str]] = {}
    for seeds in groups.values():
        for run in seeds.values():
            for sentence in run.results.get("warnings", ()):
                kinds.setdefault(_NUMBER.sub("", str(sentence)), {})[str(run.path)] = str(sentence)
    notes = []
    for _, sentences in sorted(kinds.items()):
        paths = sorted(sentences)
        runs = f"{len(paths)} run{'' if len(paths) == 1 else 's'} ({some_of(paths, 3)})"
        which = "" if len(set(sentences.values())) == 1 else ", here that of the first"
        notes.append(f"WARNING of {runs}{which}: {sentences[paths[0]]}")
    return notes


def _row(
    setting: Setting,
    ratio: float,
    method: str,
    n_models: int,
    by_seed: Mapping[int, SavedRun],
    split: str,
    fields: Sequence[str],
) -> ComparedRow:
    name = headline(next(iter(by_seed.values())).results)
    measured = [run.results["splits"][split] for run in by_seed.values()]
    columns = {
        key: [float(values[key]) for values in measured]
        for key in SHOWN[setting.track]
        if all(key in values for values in measured)
    }
    return ComparedRow(
        method=method,
        setting=setting,
        ratio=ratio,
        n_models=n_models,
        headline=name,
        seeds=tuple(by_seed),
        values=tuple(columns[name]),
        means={key: fmean(values) for key, values in columns.items()},
        stds={key: stdev(values) for key, values in columns.items() if len(values) > 1},
        marks=marks(setting, fields),
        runs=tuple(run.path for run in by_seed.values()),
    )


def _ranked(rows: Sequence[ComparedRow]) -> list[ComparedRow]:
    """Rank rows by mean; equal means share the better rank."""
    places = {
        setting: place for place, setting in enumerate(dict.fromkeys(row.setting.clean for row in rows))
    }
    order = sorted(
        rows,
        key=lambda row: (
            places[row.setting.clean],
            row.ratio or 0.0,
            str(row.setting.kind),
            str(row.setting.protocol),
            str(row.setting.noise_file),
            row.n_models,
            -fmean(row.values),
            row.method,
        ),
    )
    ranked: list[ComparedRow] = []
    for _, group in groupby(order, key=lambda row: (row.setting, row.ratio, row.n_models)):
        rivals = list(group)
        means = [fmean(row.values) for row in rivals]
        ranks = [1 + sum(other > mean for other in means) for mean in means]
        ranked += [dataclasses.replace(row, rank=rank) for row, rank in zip(rivals, ranks, strict=True)]
    return ranked


def _tested(
    rows: Sequence[ComparedRow],
    groups: Mapping[Key, Mapping[int, SavedRun]],
    split: str,
    against: str | None,
    resamples: int,
) -> tuple[list[ComparedRow], list[str]]:
    """Add the differences from the reference of each setting, ratio and number of models."""
    sections: dict[tuple[Setting, float | None, int], list[ComparedRow]] = {}
    for row in rows:
        sections.setdefault((row.setting, row.ratio, row.n_models), []).append(row)
    tested: list[ComparedRow] = []
    lacking = 0
    partly: list[str] = []
    for section in sections.values():
        chosen = next((row for row in section if against in (None, row.method)), None)
        others = [] if chosen is None else [row for row in section if row is not chosen]
        if chosen is None or not others:
            tested.extend(section)
            continue
        own = groups[chosen.key]
        rivals = [groups[row.key] for row in others]
        by_seed = over_seeds(own, rivals, split, chosen.headline)
        by_query = over_queries(own, rivals, split, chosen.setting.track, resamples)
        lacking += sum(test is None for test in by_query)
        partly += [
            f"{row.label} at {row.noise} ({test.n_seeds} shared with {chosen.label})"
            for row, test in zip(others, by_seed, strict=True)
            if test is not None and row.seeds != chosen.seeds
        ]
        found = {
            row.key: Difference(chosen.label, *tests)
            for row, tests in zip(others, zip(by_seed, by_query, strict=True), strict=True)
        }
        tested.extend(dataclasses.replace(row, difference=found.get(row.key)) for row in section)
    notes = []
    if partly:
        notes.append(
            "means are over all seeds of a row, but its difference is over the seeds that it shares with the "
            f"reference, and some rows do not share all: {some_of(partly)}"
        )
    if lacking:
        notes.append(
            f"of {lacking} rows the difference over queries is not known: the runs have no seed in common "
            f"with the reference, one of them lacks a whole queries-{split}.npz, or its measures are a mean "
            "over networks"
        )
    return tested, notes
