"""A comparison for the terminal, for a spreadsheet, for Markdown, for LaTeX and for programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from robustcmr.reporting.comparison import SHOWN, ComparedRow, Comparison
from robustcmr.reporting.comparison_cells import (
    DIFFERENCES,
    Cells,
    explanations,
    models,
    note,
    robustness_cells,
    row_cells,
)

_LEAST = 12

_LATEX = {
    **{"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$"},
    **{"<": r"$<$", ">": r"$>$"},
}


def comparison_table(comparison: Comparison, all_measures: bool = False, narrow: bool = False) -> Group:
    """Tables for the terminal: rows by noise, then robustness, then what a reader must know.

    Args:
        comparison: any.
        all_measures: every measure of the track; the headline alone otherwise.
        narrow: fit into 80 columns: differences in a table of their own, curves without deviations, and
            single models told below where all are.
    """
    cells, lines = row_cells(comparison, all_measures), [*explanations(comparison), *_warned(comparison)]
    title, curves_title = f"{comparison.split} split", "robustness over noise ratios"
    tables = [(cells, title)]
    if not narrow and comparison.robustness:
        tables.append((robustness_cells(comparison.robustness), curves_title))
    if narrow:
        common = () if any(row.n_models > 1 for row in comparison.rows) else ("models",)
        short, footnotes = cells.without([*common, *DIFFERENCES]).with_footnotes()
        short = short.renamed({"seeds": "n", "rank": "#"})
        one = len({row.setting.data for row in comparison.rows if row.difference}) < 2
        kept = {"noise", "method", *DIFFERENCES, *(() if one else ("data",))}
        apart = cells.without([name for name in cells.titles if name not in kept]).with_numbers()
        lines = [
            *footnotes,
            "n: number of seeds; #: rank.",
            *(["All rows are of single models."] if common else []),
            *lines,
        ]
        tables = [(short, title), *([(apart, "differences")] if apart.rows else [])]
        if comparison.robustness:
            curves = robustness_cells(comparison.robustness, deviations=False).without(common)
            tables.append((curves, curves_title))
    parts: list[Any] = []
    for table, name in tables:
        parts += [_rich(table, name, narrow), Text()]
    return Group(*parts, *map(Text, lines))


def _rich(cells: Cells, title: str, narrow: bool) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1 if narrow else 2, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    for place, name in enumerate(cells.titles):
        words = place < cells.words
        least = min(_LEAST, max(len(row[place]) for row in cells.rows))  # no column gives way altogether
        table.add_column(
            Text(name),
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
            min_width=least if words else None,
        )
    for row, best, starts, measured in zip(cells.rows, cells.best, cells.starts, cells.measured, strict=True):
        if starts:
            table.add_section()
        table.add_row(*map(Text, row), style="bold" if best else None if measured else "dim italic")
    return table


def to_markdown(comparison: Comparison) -> str:
    """Markdown tables, the best of each section in bold, what was not measured here in italics."""
    parts = [_pipes(row_cells(comparison))]
    if comparison.robustness:
        parts.append(_pipes(robustness_cells(comparison.robustness)))
    lines = [*explanations(comparison), *_warned(comparison)]
    parts.append("".join(f"- {_plain_markdown(line)}\n" for line in lines))
    return "\n".join(part for part in parts if part)


def _pipes(cells: Cells) -> str:
    bars = [":---" if place < cells.words else "---:" for place in range(len(cells.titles))]
    lines = [cells.titles, tuple(bars)]
    for row, best, measured in zip(cells.rows, cells.best, cells.measured, strict=True):
        around = "**" if best else "" if measured else "*"
        texts = map(_plain_markdown, row)
        lines.append(tuple(f"{around}{text}{around}" if text else "" for text in texts))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain_markdown(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\|*_`<[]" else letter for letter in text).replace("\n", " ")


def to_latex(comparison: Comparison) -> str:
    """Tables for the ``booktabs`` package, the best of each section in bold, others' figures in italics."""
    parts = [_tabular(row_cells(comparison))]
    if comparison.robustness:
        parts.append(_tabular(robustness_cells(comparison.robustness)))
    parts.append("".join(f"% {line}\n" for line in [*explanations(comparison), *_warned(comparison)]))
    return "\n".join(part for part in parts if part)


def _tabular(cells: Cells) -> str:
    kinds = "l" * cells.words + "r" * (len(cells.titles) - cells.words)
    head = _ampersands(cells.titles, _plain_latex)
    lines = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", head, r"\midrule"]
    for row, best, starts, measured in zip(cells.rows, cells.best, cells.starts, cells.measured, strict=True):
        if starts:
            lines.append(r"\midrule")
        wrap = r"\textbf{" if best else "" if measured else r"\textit{"
        lines.append(_ampersands(row, lambda text, wrap=wrap: _wrapped(wrap, _plain_latex(text))))  # type: ignore[misc]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _ampersands(row: tuple[str, ...], write: Callable[[str], str]) -> str:
    return " & ".join(map(write, row)) + r" \\"


def _wrapped(opening: str, text: str) -> str:
    return f"{opening}{text}}}" if opening and text else text


def _plain_latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text.replace("\n", " "))


def to_csv(comparison: Comparison) -> str:
    """One line a row with full precision, means and deviations of every measure apart."""
    tracks = dict.fromkeys(row.setting.track for row in comparison.rows)
    measures = [name for track in tracks for name in SHOWN[track]]
    areas = {
        (entry.method, entry.n_models, entry.setting.clean): entry
        for entry in reversed(comparison.robustness)
        if len({other.setting for other in comparison.robustness}) == 1
    }
    lines = [_flat(row, comparison.split, measures, areas) for row in comparison.rows]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _flat(
    row: ComparedRow, split: str, measures: list[str], areas: Mapping[tuple[Any, ...], Any]
) -> dict[str, Any]:
    setting, difference = row.setting, row.difference
    seeds = None if difference is None else difference.over_seeds
    queries = None if difference is None else difference.over_queries
    entry = areas.get((row.method, row.n_models, setting.clean))
    values: dict[str, Any] = {
        "track": setting.track,
        "data": setting.data,
        "data_fingerprint": setting.fingerprint,
        "split": split,
        "noise_kind": setting.kind,
        "protocol": setting.protocol,
        "noise_ratio": row.ratio,
        "method": row.method,
        "models": models(row.n_models),
        "n_models": row.n_models,
        "measured_here": "no" if row.source else "yes",
        "n_seeds": len(row.seeds),
        "seeds": " ".join(map(str, row.seeds)),
        "rank": row.rank,
    }
    for name in measures:
        values[f"{name}_mean"], values[f"{name}_std"] = row.means.get(name), row.stds.get(name)
    return {
        **values,
        "robustness_area": None if entry is None else entry.area,
        "robustness_area_std": None if entry is None else entry.area_std,
        "reference": None if difference is None else difference.reference,
        "difference_seeds": None if seeds is None else seeds.difference,
        "p_seeds": None if seeds is None else seeds.p_value,
        "test_seeds": None if seeds is None else seeds.test,
        "difference_queries": None if queries is None else queries.difference,
        "low_queries": None if queries is None else queries.low,
        "high_queries": None if queries is None else queries.high,
        "p_queries": None if queries is None else queries.p_value,
        "note": note(row),
        "runs": " ".join(map(str, row.runs)),
    }


def to_json(comparison: Comparison) -> str:
    """Everything, for programs."""
    tree = _plain_values(comparison)
    for row, plain in zip(comparison.rows, tree["rows"], strict=True):
        plain.update(mean=row.mean, std=row.std, noise=row.noise, measured_here=row.source is None)
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _plain_values(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain_values(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain_values(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain_values(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _warned(comparison: Comparison) -> list[str]:
    """Notes, after a word on mixed settings."""
    mixed = "MIXED: the rows do not all answer the same question; see the note of each."
    return [*([mixed] if comparison.mixed else []), *(f"Note: {sentence}." for sentence in comparison.notes)]
