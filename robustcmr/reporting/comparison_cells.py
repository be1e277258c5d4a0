"""What stands in the columns of a comparison, as text, whatever the table is drawn with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustcmr.reporting.bootstrap import SeedTest
from robustcmr.reporting.comparison import SHOWN, ComparedRow, Comparison
from robustcmr.reporting.robustness import Robustness

DIFFERENCES = ("difference [95%]", "p queries", "p seeds")
"""Titles of the columns that hold a row against another."""

TITLES: Mapping[str, str] = {
    **{f"i2t_r{k}": f"i2t R@{k}" for k in (1, 5, 10)},
    **{f"t2i_r{k}": f"t2i R@{k}" for k in (1, 5, 10)},
    **{"rsum": "rSum", "map_i2t": "i2t mAP", "map_t2i": "t2i mAP", "map": "mAP"},
}
"""What each measure is called."""


@dataclass(frozen=True)
class Cells:
    """A table as text.

    Attributes:
        titles: of the columns.
        rows: a text for each column.
        best: whether a row is the best of its section.
        sections: for each row, which section it is in, from 0.
        words: how many of the first columns hold words; the others hold numbers.
        measured: whether a row was measured here.
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: tuple[bool, ...]
    sections: tuple[int, ...]
    words: int
    measured: tuple[bool, ...]

    @property
    def starts(self) -> tuple[bool, ...]:
        """Whether a row begins a section after the first, so that a line belongs above it."""
        return tuple(
            place > 0 and section != self.sections[place - 1] for place, section in enumerate(self.sections)
        )

    def without(self, titles: Sequence[str]) -> Cells:
        """The table without some columns."""
        kept = [place for place, title in enumerate(self.titles) if title not in titles]
        return dataclasses.replace(
            self,
            titles=tuple(self.titles[place] for place in kept),
            rows=tuple(tuple(row[place] for place in kept) for row in self.rows),
            words=sum(place < self.words for place in kept),
        )

    def renamed(self, titles: Mapping[str, str]) -> Cells:
        """The table with other titles for some columns."""
        return dataclasses.replace(self, titles=tuple(titles.get(title, title) for title in self.titles))

    def with_numbers(self) -> Cells:
        """The table without rows that hold words alone."""
        kept = [place for place, row in enumerate(self.rows) if any(row[self.words :])]
        return dataclasses.replace(
            self,
            rows=tuple(self.rows[place] for place in kept),
            best=tuple(self.best[place] for place in kept),
            sections=tuple(self.sections[place] for place in kept),
            measured=tuple(self.measured[place] for place in kept),
        )

    def with_footnotes(self) -> tuple[Cells, list[str]]:
        """The table with numbers in place of its notes, and a line a number."""
        if "note" not in self.titles:
            return self, []
        place = self.titles.index("note")
        notes = [note for note in dict.fromkeys(row[place] for row in self.rows) if note]
        numbers = {"": "", **{note: str(number) for number, note in enumerate(notes, 1)}}
        rows = tuple((*row[:place], numbers[row[place]], *row[place + 1 :]) for row in self.rows)
        return dataclasses.replace(self, rows=rows), [f"{numbers[note]}: {note}" for note in notes]


def row_cells(comparison: Comparison, all_measures: bool = True) -> Cells:
    """The rows of a comparison.

    Args:
        comparison: any.
        all_measures: every measure of the track; otherwise the headline alone, unless some row lacks it.

    Returns:
        The columns that hold something.
    """
    tracks = list(dict.fromkeys(row.setting.track for row in comparison.rows))
    lacking = {row.setting.track for row in comparison.rows if row.mean is None}
    measures = [
        name
        for track in tracks
        for name in (SHOWN[track] if all_measures or track in lacking else SHOWN[track][-1:])
    ]
    several = len({row.setting.data for row in comparison.rows}) > 1
    columns: dict[str, list[str]] = {
        "data": [row.setting.data if several else "" for row in comparison.rows],
        "noise": [row.noise for row in comparison.rows],
        "method": [row.method for row in comparison.rows],
        "models": [models(row.n_models) for row in comparison.rows],
        "note": [note(row) for row in comparison.rows],
        "seeds": [str(len(row.seeds)) if row.seeds else "" for row in comparison.rows],
        "rank": ["" if row.rank is None else str(row.rank) for row in comparison.rows],
        **{TITLES[name]: [_measure(row, name) for row in comparison.rows] for name in measures},
        "difference [95%]": [_over_queries(row) for row in comparison.rows],
        "p queries": [_p_queries(row) for row in comparison.rows],
        "p seeds": [
            p_seeds(None if row.difference is None else row.difference.over_seeds) for row in comparison.rows
        ],
    }
    return _cells(
        columns,
        best=[row.rank == 1 for row in comparison.rows],
        sections=_numbered(
            [(row.ratio, row.setting if row.source is None else row.setting.data) for row in comparison.rows]
        ),
        measured=[row.source is None for row in comparison.rows],
    )


def robustness_cells(entries: Sequence[Robustness], deviations: bool = True) -> Cells:
    """Curves over noise ratios and the areas below.

    Args:
        entries: at least one.
        deviations: those of the curves as well.
    """
    ratios = sorted({ratio for entry in entries for ratio in entry.ratios})
    columns: dict[str, list[str]] = {
        "method": [entry.method for entry in entries],
        "models": [models(entry.n_models) for entry in entries],
        "note": ["; ".join(entry.marks) for entry in entries],
        **{
            f"{100 * ratio:g}%": [
                _spread(*_at(entry, ratio, deviations)) if ratio in entry.ratios else "" for entry in entries
            ]
            for ratio in ratios
        },
        "area": ["" if entry.area is None else _spread(entry.area, entry.area_std) for entry in entries],
        "p seeds": [p_seeds(entry.over_seeds) for entry in entries],
    }
    return _cells(
        columns,
        best=[entry.rank == 1 for entry in entries],
        sections=_numbered([entry.setting for entry in entries]),
        measured=[True] * len(entries),
    )


def models(count: int) -> str:
    """``single``, or an ensemble declared as such."""
    return "single" if count == 1 else f"ensemble ({count})"


def note(row: ComparedRow) -> str:
    """Marks of a row, and who reported it if it was not measured here."""
    return "; ".join([*row.marks, *([] if row.source is None else [row.source])])


def p_seeds(test: SeedTest | None) -> str:
    """A p-value with the number of pairs it is of, and a t where it is of the paired t-test."""
    if test is None or test.p_value is None:
        return ""
    return f"{_p(test.p_value)} (n={test.n_seeds}{'' if 'exact' in test.test else ', t'})"


def explanations(comparison: Comparison) -> list[str]:
    """What the columns mean, as far as they hold something."""
    lines = []
    if any(row.stds for row in comparison.rows):
        lines.append("± is the standard deviation over seeds.")
    if any(row.difference for row in comparison.rows):
        references = dict.fromkeys(row.difference.reference for row in comparison.rows if row.difference)
        what = (
            f"from {next(iter(references))}" if len(references) == 1 else "from the first row of the section"
        )
        lines.append(
            f"Differences of the headline measure are {what}: the interval and 'p queries' by a paired "
            "bootstrap over queries; 'p seeds' by trying all sign flips of n paired seeds, which cannot fall "
            "below 2 / 2^n, or by a paired t-test where it says t."
        )
    if any(entry.area is not None for entry in comparison.robustness):
        lines.append(
            "In the table of robustness the pairs of 'p seeds' are those of all seeds and ratios. "
            "The area lies under the mean headline measure from the lowest to the highest noise ratio that "
            "all methods have, in percent of the best possible."
        )
    return lines


def _cells(
    columns: Mapping[str, Sequence[str]],
    best: Sequence[bool],
    sections: Sequence[int],
    measured: Sequence[bool],
) -> Cells:
    shown = {title: values for title, values in columns.items() if any(values)}
    return Cells(
        titles=tuple(shown),
        rows=tuple(zip(*shown.values(), strict=True)),
        best=tuple(best),
        sections=tuple(sections),
        words=sum(title in ("data", "noise", "method", "models", "note") for title in shown),
        measured=tuple(measured),
    )


def _numbered(keys: Sequence[object]) -> list[int]:
    numbers = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]


def _measure(row: ComparedRow, name: str) -> str:
    return _spread(row.means[name], row.stds.get(name)) if name in row.means else ""


def _at(entry: Robustness, ratio: float, deviation: bool) -> tuple[float, float | None]:
    place = entry.ratios.index(ratio)
    return entry.means[place], entry.stds[place] if deviation else None


def _spread(mean: float, deviation: float | None) -> str:
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def _over_queries(row: ComparedRow) -> str:
    if row.difference is None:
        return ""
    test, seeds = row.difference.over_queries, row.difference.over_seeds
    if test is not None:
        return f"{test.difference:+.1f} [{test.low:+.1f}, {test.high:+.1f}]"
    return "" if seeds is None else f"{seeds.difference:+.1f}"


def _p_queries(row: ComparedRow) -> str:
    test = None if row.difference is None else row.difference.over_queries
    return "" if test is None else _p(test.p_value)


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
