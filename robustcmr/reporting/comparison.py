"""Runs side by side: mean and deviation over seeds, rank, robustness over noise, and what is certain."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from robustcmr.errors import ComparisonError
from robustcmr.reporting.agreement import Setting, differing, marks, noise_level, refuse_mixtures, settings
from robustcmr.reporting.bootstrap import RESAMPLES, QueryTest, SeedTest
from robustcmr.reporting.differences import over_queries, over_seeds
from robustcmr.reporting.method_labels import method_labels
from robustcmr.reporting.published import PublishedRow
from robustcmr.reporting.robustness import Robustness, robustness
from robustcmr.runs.read import SavedRun, headline

SHOWN: Mapping[str, tuple[str, ...]] = {
    "pairs": ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum"),
    "labels": ("map_i2t", "map_t2i", "map"),
}
"""The measures that are compared, by track; the last is the headline."""


@dataclass(frozen=True)
class Difference:
    """How a row differs from the one it is held against, by the headline measure.

    Attributes:
        reference: that row's method.
        over_seeds: paired by seed; None without a common seed.
        over_queries: paired by query, of the mean over the common seeds; None where a run did not keep them.
    """

    reference: str
    over_seeds: SeedTest | None
    over_queries: QueryTest | None


@dataclass(frozen=True)
class ComparedRow:
    """A method at one noise ratio, over its seeds.

    Attributes:
        method: its label.
        setting: under which conditions.
        ratio: share of wrong pairs or labels, in [0, 1]; None where the noise is the data's own.
        n_models: how many models' scores were averaged.
        headline: the measure by which it is ranked.
        seeds: in rising order; none for published figures.
        values: the headline measure by seed.
        means: of each measure over seeds.
        stds: standard deviations over seeds (of the sample); empty of a single seed.
        rank: from 1 among the rows of the same setting and ratio; None where not measured here.
        marks: in which of the settings this row is, where the rows are not of one.
        runs: folders by seed.
        difference: from the reference; None for the reference itself.
        source: who reported it; None where it was measured here.
    """

    method: str
    setting: Setting
    ratio: float | None
    n_models: int
    headline: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    means: Mapping[str, float]
    stds: Mapping[str, float]
    rank: int | None = None
    marks: tuple[str, ...] = ()
    runs: tuple[Path, ...] = ()
    difference: Difference | None = None
    source: str | None = None

    @property
    def mean(self) -> float | None:
        """The headline measure; None where its source does not give it."""
        return self.means.get(self.headline)

    @property
    def std(self) -> float | None:
        """Of the headline measure over seeds; None of a single seed."""
        return self.stds.get(self.headline)

    @property
    def noise(self) -> str:
        """Such as ``40% caption``; ``its own, real`` where nobody made it."""
        if self.ratio is None:
            return f"its own, {self.setting.protocol}"
        kind = None if self.setting.kind == "mismatch" else self.setting.kind
        words = (f"{100 * self.ratio:g}%", kind, self.setting.protocol)
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Comparison:
    """Everything that is shown of some runs.

    Attributes:
        split: which was measured.
        rows: by setting, noise ratio and rank; published ones behind those measured here.
        robustness: one entry a method and setting with at least two noise ratios.
        mixed: fields of the settings in which rows differ; empty where all answer the same question.
        notes: sentences a reader must know.
    """

    split: str
    rows: tuple[ComparedRow, ...]
    robustness: tuple[Robustness, ...]
    mixed: tuple[str, ...]
    notes: tuple[str, ...]


def compare(
    runs: Sequence[SavedRun],
    split: str = "test",
    mixed: bool = False,
    against: str | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Set runs side by side.

    Args:
        runs: finished ones; those that differ in nothing but the seed become one row.
        split: which of the measured splits.
        mixed: allow runs of different tracks, data, protocols or noise files, and mark every row.
        against: label of the method that others are held against; the best of each setting and ratio if None.
        resamples: of the bootstrap over queries.

    Raises:
        ComparisonError: there are no runs, they do not answer the same question, one lacks the split, or no
            run is of the method to hold against.
    """
    if not runs:
        raise ComparisonError("there is no finished run to compare; train some, or name other folders")
    found = settings(runs, split)
    if not mixed:
        refuse_mixtures(runs, found)
    fields, labels = differing(found), method_labels(runs)
    if against is not None and against not in labels:
        known = ", ".join(dict.fromkeys(labels))
        raise ComparisonError(
            f"no run is of the method '{against}' to hold others against (there are: {known})"
        )
    groups: dict[tuple[Setting, float, str, int], dict[int, SavedRun]] = {}
    notes = _notes(runs)
    for run, setting, label in zip(runs, found, labels, strict=True):
        key = (setting, noise_level(run.results), label, int(run.results["n_models"]))
        seeds = groups.setdefault(key, {})
        first = seeds.setdefault(int(run.results["seed"]), run)
        if first is not run:
            notes.append(f"{run.path} repeats {first.path} (same settings and seed) and was left out")
    rows = [_row(*key, dict(sorted(seeds.items())), split, fields) for key, seeds in groups.items()]
    ranked = _ranked(rows)
    members = {_key(row): groups[row.setting, row.ratio or 0.0, row.method, row.n_models] for row in rows}
    tested, more = _tested(ranked, members, split, against, resamples)
    curves, most = robustness(tested)
    return Comparison(split, tuple(tested), tuple(curves), tuple(fields), (*notes, *more, *most))


def with_published(comparison: Comparison, published: Sequence[PublishedRow]) -> Comparison:
    """A comparison with figures of the literature behind its own rows, none of which change.

    Args:
        comparison: of one's own runs.
        published: see :func:`robustcmr.reporting.published.published_rows`.
    """
    data = list(dict.fromkeys(row.data for row in published))
    rows = sorted(
        map(_published_row, published),
        key=lambda row: (data.index(row.setting.data), row.ratio or 0.0, -(row.mean or 0.0)),
    )
    theirs, ours = {row.data for row in published}, {row.setting.data for row in comparison.rows}
    notes = ["rows marked 'not measured here' are as published and were not repeated with this package"]
    if ours and theirs.isdisjoint(ours):
        notes.append(
            f"the published rows are of {', '.join(sorted(theirs))} and the runs of "
            f"{', '.join(sorted(ours))}: they do not answer the same question"
        )
    protocols = {row.setting.protocol for row in comparison.rows} - {None}
    others = sorted({row.protocol for row in published if row.data in ours} - protocols)
    if protocols and others:
        notes.append(
            f"the protocol of some published rows ({', '.join(others)}) is not that of the runs "
            f"({', '.join(sorted(map(str, protocols)))}): the same ratio is another experiment there"
        )
    return dataclasses.replace(comparison, rows=(*comparison.rows, *rows), notes=(*comparison.notes, *notes))


def _published_row(row: PublishedRow) -> ComparedRow:
    labels = any(name.startswith("map") for name in row.measures)
    protocol = "protocol unknown" if row.protocol == "unknown" else row.protocol
    setting = Setting("labels" if labels else "pairs", row.data, "", "", "", None, protocol)
    name = SHOWN[setting.track][-1]
    values = (row.measures[name],) if name in row.measures else ()
    return ComparedRow(
        method=f"{row.method} ({row.backbone})" if row.backbone != "unknown" else row.method,
        setting=setting,
        ratio=row.ratio,
        n_models=row.n_models,
        headline=name,
        seeds=(),
        values=values,
        means=row.measures,
        stds={},
        marks=("not measured here",),
        source=row.source,
    )


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


def _key(row: ComparedRow) -> tuple[Setting, float | None, str, int]:
    return row.setting, row.ratio, row.method, row.n_models


def _ranked(rows: Sequence[ComparedRow]) -> list[ComparedRow]:
    """Rows in the order they are shown, equal means sharing the better rank."""
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
            -fmean(row.values),
            row.method,
        ),
    )
    ranked: list[ComparedRow] = []
    start = 0
    for place, row in enumerate(order):
        before = ranked[-1] if ranked else None
        if before is None or (before.setting, before.ratio) != (row.setting, row.ratio):
            start, before = place, None
        equal = before is not None and before.mean == row.mean
        ranked.append(
            dataclasses.replace(row, rank=before.rank if before is not None and equal else place - start + 1)
        )
    return ranked


def _tested(
    rows: Sequence[ComparedRow],
    members: Mapping[tuple[Setting, float | None, str, int], Mapping[int, SavedRun]],
    split: str,
    against: str | None,
    resamples: int,
) -> tuple[list[ComparedRow], list[str]]:
    """Rows with their differences from the reference of their setting and ratio."""
    sections: dict[tuple[Setting, float | None], list[ComparedRow]] = {}
    for row in rows:
        sections.setdefault((row.setting, row.ratio), []).append(row)
    tested: list[ComparedRow] = []
    lacking = 0
    for section in sections.values():
        chosen = next((row for row in section if against in (None, row.method)), None)
        others = [] if chosen is None else [row for row in section if row is not chosen]
        if chosen is None or not others:
            tested.extend(section)
            continue
        own = members[_key(chosen)]
        rivals = [members[_key(row)] for row in others]
        by_seed = over_seeds(own, rivals, split, chosen.headline)
        by_query = over_queries(own, rivals, split, chosen.setting.track, resamples)
        lacking += sum(test is None for test in by_query)
        found = {
            _key(row): Difference(chosen.method, *tests)
            for row, tests in zip(others, zip(by_seed, by_query, strict=True), strict=True)
        }
        tested.extend(dataclasses.replace(row, difference=found.get(_key(row))) for row in section)
    notes = []
    if lacking:
        notes.append(
            f"of {lacking} rows the difference over queries is not known: the runs have no seed in common "
            f"with the reference, or one of them lacks a whole queries-{split}.npz"
        )
    return tested, notes


def _notes(runs: Sequence[SavedRun]) -> list[str]:
    versions = sorted({run.version for run in runs})
    if len(versions) < 2:
        return []
    return [f"the runs were trained by different versions of robustcmr: {', '.join(versions)}"]
