"""A comparison as text: the cells of its tables, for the terminal, Markdown, LaTeX, and pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table

from noise_injection.printing import one_line
from robustcmr.reporting.compared import SHOWN, TITLES, ComparedRow, Comparison, Robustness
from robustcmr.reporting.completeness import incompleteness
from robustcmr.reporting.markup import latex, markdown
from robustcmr.reporting.significance import SeedTest

DIFFERENCES = ("difference [95%]", "p queries", "p seeds")
"""Titles of the columns that hold the difference from the reference."""

_WORDS = ("data", "noise", "method", "models", "note")  # columns of words; the others hold numbers


@dataclass(frozen=True)
class Cells:
    """A table as text, in sections.

    Attributes:
        columns: a text for each row, by the column's title; words come before numbers, and columns that hold
            nothing are left out.
        best: whether a row is the best of its section.
        sections: for each row, what its section is.
        measured: whether a row was measured here.
    """

    columns: Mapping[str, Sequence[str]]
    best: Sequence[bool]
    sections: Sequence[object]
    measured: Sequence[bool]

    def __post_init__(self) -> None:
        filled = {title: column for title, column in self.columns.items() if any(column)}
        object.__setattr__(self, "columns", filled)

    @property
    def titles(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(self.columns)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """A text for each column."""
        return list(zip(*self.columns.values(), strict=True))

    @property
    def words(self) -> int:
        """How many of the first columns hold words."""
        return sum(title in _WORDS for title in self.columns)

    @property
    def starts(self) -> list[bool]:
        """Whether a row begins a section after the first, so that a line belongs above it."""
        return [False, *(before != after for before, after in pairwise(self.sections))][: len(self.sections)]

    def without(self, titles: Collection[str]) -> Cells:
        """The table without some columns."""
        kept = {title: column for title, column in self.columns.items() if title not in titles}
        return dataclasses.replace(self, columns=kept)


def row_cells(comparison: Comparison, all_measures: bool = True) -> Cells:
    """Return the rows of a comparison as text, with every measure of their track.

    With ``all_measures=False`` the headline alone, unless some row lacks it.
    """
    rows = comparison.rows
    lacking = {row.setting.track for row in rows if row.mean is None}
    measures = [
        name
        for track in dict.fromkeys(row.setting.track for row in rows)
        for name in (SHOWN[track] if all_measures or track in lacking else SHOWN[track][-1:])
    ]
    several = len({row.setting.data for row in rows}) > 1
    complete = not comparison.missing
    rank = "{}" if complete else "({})"
    return Cells(
        {
            "data": [row.setting.data if several else "" for row in rows],
            "noise": [row.noise for row in rows],
            "method": [row.method for row in rows],
            "models": [models(row.n_models) for row in rows],
            "note": [note(row) for row in rows],
            "seeds": [str(len(row.seeds)) if row.seeds else "" for row in rows],
            "rank": ["" if row.rank is None else rank.format(row.rank) for row in rows],
            **{
                TITLES[name]: [_spread(row.means.get(name), row.stds.get(name)) for row in rows]
                for name in measures
            },
            **dict(zip(DIFFERENCES, zip(*map(_difference, rows), strict=True), strict=False)),
        },
        best=[complete and row.rank == 1 for row in rows],
        sections=[
            (row.ratio, row.setting.data) if row.source else (row.ratio, row.setting, row.n_models)
            for row in rows
        ],
        measured=[row.source is None for row in rows],
    )


def robustness_cells(comparison: Comparison, deviations: bool = True) -> Cells:
    """Return robustness curves, with their deviations or without, and the areas below, as text."""
    entries = comparison.robustness

    def at(entry: Robustness, ratio: float) -> str:
        if ratio not in entry.ratios:
            return ""
        place = entry.ratios.index(ratio)
        return _spread(entry.means[place], entry.stds[place] if deviations else None)

    return Cells(
        {
            "method": [entry.method for entry in entries],
            "models": [models(entry.n_models) for entry in entries],
            "note": ["; ".join(entry.marks) for entry in entries],
            **{
                f"{100 * ratio:g}%": [at(entry, ratio) for entry in entries]
                for ratio in sorted({ratio for entry in entries for ratio in entry.ratios})
            },
            "area": [_spread(entry.area, entry.area_std) for entry in entries],
            "p seeds": [_p_seeds(entry.over_seeds) for entry in entries],
        },
        best=[not comparison.missing and entry.rank == 1 for entry in entries],
        sections=[(entry.setting, entry.n_models) for entry in entries],
        measured=[True] * len(entries),
    )


def models(count: int) -> str:
    """Write ``single``, or an ensemble declared as such."""
    return "single" if count == 1 else f"ensemble ({count})"


def note(row: ComparedRow) -> str:
    """Write the marks of a row, and who reported it if it was not measured here."""
    return "; ".join([*row.marks, *([] if row.source is None else [row.source])])


def _spread(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return ""
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def _difference(row: ComparedRow) -> tuple[str, str, str]:
    """The difference with its interval, and the p-values over queries and over seeds."""
    if row.difference is None:
        return "", "", ""
    test, seeds = row.difference.over_queries, row.difference.over_seeds
    if test is not None:
        change = f"{test.difference:+.1f} [{test.low:+.1f}, {test.high:+.1f}]"
        return change, _p(test.p_value), _p_seeds(seeds)
    return "" if seeds is None else f"{seeds.difference:+.1f}", "", _p_seeds(seeds)


def _p_seeds(test: SeedTest | None) -> str:
    """A p-value with the number of pairs, and a t where it is of the paired t-test."""
    if test is None or test.p_value is None:
        return ""
    return f"{_p(test.p_value)} (n={test.n_seeds}{'' if 'exact' in test.test else ', t'})"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def explanations(comparison: Comparison) -> list[str]:
    """Return what the columns mean, as far as they hold something."""
    lines = ["Ranks in parentheses are provisional."] if comparison.missing else []
    if any(row.stds for row in comparison.rows):
        lines.append("± is the standard deviation over seeds.")
    if references := {row.difference.reference for row in comparison.rows if row.difference}:
        lines.append(
            f"Differences of the headline measure are from {_named(references, comparison)}: the interval "
            "and 'p queries' by a paired bootstrap over queries; 'p seeds' by trying all sign flips of n "
            "paired seeds, which cannot fall below 2 / 2^n, or by a paired t-test where it says t."
        )
    bases = {entry.reference for entry in comparison.robustness if entry.over_seeds and entry.reference}
    if bases:
        lines.append(
            "In the table of robustness 'p seeds' is of the differences from "
            f"{_named(bases, comparison)}, over all seeds and ratios that both have."
        )
    if any(entry.area is not None for entry in comparison.robustness):
        lines.append(
            "The area lies under the mean headline measure from the lowest to the highest noise ratio that "
            "all methods have, in percent of the best possible."
        )
    return lines


def _named(references: Collection[str], comparison: Comparison) -> str:
    """A row, a method whose rows are of several numbers of models, or else the best of each section."""
    methods = {row.method for row in comparison.rows if row.label in references}
    names = references if len(references) == 1 else methods
    return next(iter(names)) if len(names) == 1 else "the first row of the section"


def remarks(comparison: Comparison) -> list[str]:
    """Return what is missing, explanations, a warning about mixed settings, and notes."""
    mixed = "MIXED: the rows do not all answer the same question; see the note of each."
    notes = [f"Note: {sentence}." for sentence in comparison.notes]
    lacking = incompleteness(comparison.planned)
    return [*lacking, *explanations(comparison), *([mixed] if comparison.mixed else []), *notes]


def comparison_table(comparison: Comparison, all_measures: bool = False, narrow: bool = False) -> Group:
    """Draw tables for the terminal: rows by noise, then robustness, then explanations.

    Args:
        comparison: any.
        all_measures: every measure of the track; the headline alone otherwise.
        narrow: fit into 80 columns: differences in a table of their own, curves without deviations, notes as
            footnotes, and the number of models left out if all are single.
    """
    cells, lines = row_cells(comparison, all_measures), remarks(comparison)
    tables = [(cells, f"{comparison.split} split")]
    common: Sequence[str] = ()
    if narrow:
        common = () if any(row.n_models > 1 for row in comparison.rows) else ("models",)
        tested = tuple(row for row in comparison.rows if any(_difference(row)))
        apart = row_cells(dataclasses.replace(comparison, rows=tested))
        apart = apart.without(set(apart.titles) - {"data", "noise", "method", *DIFFERENCES})
        short, footnotes = _short(cells.without([*common, *DIFFERENCES]))
        models_line = ["All rows are of single models."] if common else []
        lines = [*footnotes, "n: number of seeds; #: rank.", *models_line, *lines]
        tables = [(short, tables[0][1]), *([(apart, "differences")] if apart.rows else [])]
    if comparison.robustness:
        curves = robustness_cells(comparison, deviations=not narrow).without(common)
        tables.append((curves, "robustness over noise ratios"))
    parts: list[Any] = []
    for table, title in tables:
        parts += [_rich(table, title, narrow), ""]
    return Group(*parts, *lines)


def _short(cells: Cells) -> tuple[Cells, list[str]]:
    """The table with short titles and numbers in place of its notes, and a line for each number."""
    notes = [text for text in dict.fromkeys(cells.columns.get("note", ())) if text]
    numbers = {"": "", **{text: str(number) for number, text in enumerate(notes, 1)}}
    columns = {
        {"seeds": "n", "rank": "#"}.get(title, title): [numbers[text] for text in column]
        if title == "note"
        else column
        for title, column in cells.columns.items()
    }
    return dataclasses.replace(cells, columns=columns), [f"{numbers[text]}: {text}" for text in notes]


def _rich(cells: Cells, title: str, narrow: bool) -> Table:
    padding = (0, 1 if narrow else 2, 0, 0)
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=padding,
        show_edge=False,
        pad_edge=False,
    )
    for name, column in cells.columns.items():
        words = name in _WORDS
        least = min(12, max(map(len, column))) if words else None  # no column gives way altogether
        justify: Any = "left" if words else "right"
        table.add_column(name, justify=justify, no_wrap=not words, overflow="fold", min_width=least)
    for row, best, starts, measured in zip(cells.rows, cells.best, cells.starts, cells.measured, strict=True):
        if starts:
            table.add_section()
        table.add_row(*row, style="bold" if best else None if measured else "dim italic")
    return table


def to_markdown(comparison: Comparison) -> str:
    """Write Markdown tables, the best of each section in bold, what was not measured here in italics."""

    def table(cells: Cells) -> str:
        bars = [":---" if place < cells.words else "---:" for place in range(len(cells.titles))]
        lines: list[Sequence[str]] = [cells.titles, bars]
        for row, best, measured in zip(cells.rows, cells.best, cells.measured, strict=True):
            around = "**" if best else "" if measured else "*"
            lines.append([f"{around}{markdown(text)}{around}" if text else "" for text in row])
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    return _document(comparison, table, lambda line: f"- {markdown(line)}\n")


def to_latex(comparison: Comparison) -> str:
    """Write tables for the ``booktabs`` package, the best in bold, what was not measured here in italics."""

    def table(cells: Cells) -> str:
        kinds = "l" * cells.words + "r" * (len(cells.titles) - cells.words)
        head = " & ".join(map(latex, cells.titles)) + r" \\"
        lines = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", head, r"\midrule"]
        marks = zip(cells.rows, cells.best, cells.starts, cells.measured, strict=True)
        for row, best, starts, measured in marks:
            command = r"\textbf" if best else "" if measured else r"\textit"
            texts = [f"{command}{{{latex(text)}}}" if command and text else latex(text) for text in row]
            lines += [*([r"\midrule"] if starts else []), " & ".join(texts) + r" \\"]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    return _document(comparison, table, lambda line: f"% {one_line(line)}\n")


def _document(comparison: Comparison, table: Callable[[Cells], str], line: Callable[[str], str]) -> str:
    parts = [table(row_cells(comparison))]
    if comparison.robustness:
        parts.append(table(robustness_cells(comparison)))
    parts.append("".join(map(line, remarks(comparison))))
    return "\n".join(part for part in parts if part)
