"""The records of a comparison: rows, their differences, robustness curves, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcmr.reporting.agreement import Setting
from robustcmr.reporting.significance import QueryTest, SeedTest
from robustcmr.runs import frames
from robustcmr.runs.schemas import MEASURES

SHOWN = MEASURES
"""The measures that are compared, by track; the last is the headline."""

TITLES: Mapping[str, str] = {
    **{f"{way}_r{k}": f"{way} R@{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)},
    **{"rsum": "rSum", "map_i2t": "i2t mAP", "map_t2i": "t2i mAP", "map": "mAP"},
}
"""What each measure is called."""

CEILINGS: Mapping[str, float] = {"rsum": 600.0, "map": 100.0}
"""The best possible value of each headline measure."""


@dataclass(frozen=True)
class Difference:
    """The difference of a row from the reference by the headline measure.

    Attributes:
        reference: that row's method, of as many models.
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
        rank: from 1 among the rows of the same setting, ratio and number of models; None where not measured
            here.
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
    def label(self) -> str:
        """The method, with the number of models of an ensemble, such as ``ncr (2 models)``."""
        return labelled(self.method, self.n_models)

    @property
    def key(self) -> tuple[Setting, float, str, int]:
        """The fields that distinguish rows measured here."""
        return self.setting, self.ratio or 0.0, self.method, self.n_models

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
        """Such as ``40% caption``; ``its own, real`` where the noise is the data's own."""
        if self.ratio is None:
            return f"its own, {self.setting.protocol}"
        kind = None if self.setting.kind == "mismatch" else self.setting.kind
        words = (f"{100 * self.ratio:g}%", kind, self.setting.protocol)
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Robustness:
    """One method's curve over noise ratios.

    Attributes:
        method: its label.
        setting: under which conditions; ratio 0 is shared by all kinds of noise.
        n_models: how many models' scores were averaged.
        ratios: rising, in [0, 1].
        means: the headline measure over seeds at each.
        stds: its standard deviations; None of a single seed.
        over: the ratios between which the area is taken: those that all methods of the setting have.
        area: under the straight lines between the means, divided by the width and by the best possible value,
            in percent; None where fewer than two ratios are common.
        area_std: over seeds that were run at all of those ratios; None with fewer than two.
        rank: from 1 by area, among curves of as many models.
        over_seeds: paired by seed and ratio against the reference; None for itself or without a common seed.
        reference: the curve that ``over_seeds`` is against, of as many models; None for itself.
        marks: in which of the settings, where there are several.
    """

    method: str
    setting: Setting
    n_models: int
    ratios: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float | None, ...]
    over: tuple[float, ...]
    area: float | None
    area_std: float | None
    rank: int | None
    over_seeds: SeedTest | None
    reference: str | None
    marks: tuple[str, ...]


FINISHED = "finished"


def labelled(method: str, n_models: int) -> str:
    """Write a method, with the number of models if it is an ensemble."""
    return method if n_models == 1 else f"{method} ({n_models} models)"


@dataclass(frozen=True)
class PlannedRun:
    """A trial of a sweep that a comparison should hold.

    Attributes:
        path: its run folder.
        state: ``finished``, or why it is missing, such as ``waiting``, ``failed`` or ``damaged``.
        choices: what the sweep chose for it, by axis of the grid, and ``seed``.
        sweep: the folder of the sweep.
    """

    path: Path
    state: str
    choices: Mapping[str, object]
    sweep: Path


@dataclass(frozen=True)
class Comparison:
    """Everything that is shown of some runs.

    Attributes:
        split: which was measured.
        rows: by setting, noise ratio and rank; published ones behind those measured here.
        robustness: one entry a method and setting with at least two noise ratios.
        mixed: fields of the settings in which rows differ; empty where all answer the same question.
        notes: sentences a reader must know.
        planned: every trial of the sweeps compared.
    """

    split: str
    rows: tuple[ComparedRow, ...] = ()
    robustness: tuple[Robustness, ...] = ()
    mixed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    planned: tuple[PlannedRun, ...] = ()

    @property
    def missing(self) -> tuple[PlannedRun, ...]:
        """The planned runs that are not compared; with any of them, ranks are provisional."""
        return tuple(run for run in self.planned if run.state != FINISHED)

    def __repr__(self) -> str:
        from robustcmr.reporting.comparison_tables import comparison_table
        from robustcmr.reporting.tables import render

        return render(comparison_table(self), 120)

    def to_pandas(self) -> Any:
        """Return one line a row as a ``pandas.DataFrame``; raise UserError without pandas."""
        from robustcmr.reporting.comparison_files import to_rows

        return frames.to_pandas(frames.columns_of(to_rows(self)))

    def _repr_html_(self) -> str:
        from robustcmr.reporting.comparison_tables import remarks, row_cells
        from robustcmr.reporting.notebook import notebook_html

        cells = row_cells(self, all_measures=False)
        return notebook_html(f"Measured on {self.split}", cells.titles, cells.rows, remarks(self))
