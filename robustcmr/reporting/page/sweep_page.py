"""The page of a sweep or any other comparison: curves over noise, tables, heat maps, links to the runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from robustcmr.reporting.agreement import Setting
from robustcmr.reporting.comparison import SHOWN, ComparedRow, Comparison
from robustcmr.reporting.comparison_cells import (
    DIFFERENCES,
    TITLES,
    Cells,
    explanations,
    robustness_cells,
    row_cells,
)
from robustcmr.reporting.page.document import Section, document, sentence
from robustcmr.reporting.page.heat_map import heat_map
from robustcmr.reporting.page.html import Html, escape, joined, one_decimal, shown, tag
from robustcmr.reporting.page.line_chart import Line, LineChart
from robustcmr.reporting.page.parts import figure, folded, grid, table
from robustcmr.reporting.page.style import SERIES
from robustcmr.reporting.robustness import CEILINGS, Robustness


def sweep_page(comparison: Comparison, title: str = "Comparison", folder: Path | None = None) -> str:
    """The whole page.

    Args:
        comparison: of the runs.
        title: what stands above.
        folder: where the page will lie, from which links to the runs lead; None for links that hold on this
            machine alone.

    Returns:
        HTML text.
    """
    sections = [
        _curves(comparison.robustness),
        _rows(comparison),
        _heat_maps(comparison),
        _runs(comparison.rows, folder),
    ]
    measured = [row for row in comparison.rows if row.source is None]
    data = ", ".join(dict.fromkeys(row.setting.data for row in measured))
    lead = f"{sum(len(row.runs) for row in measured):,} runs on {data}, measured on {comparison.split}."
    if comparison.mixed:
        lead += f" Mixed on request: the rows differ in {', '.join(comparison.mixed)}."
    return document(title, lead, sections, "Made by robustcmr.")


def _curves(entries: Sequence[Robustness]) -> Section:
    key, title = "robustness", "Robustness to noise"
    if not entries:
        why = "No method was run at two or more noise ratios, so there are no curves."
        return Section(key, title, sentence(why))
    figures = []
    for setting, group in _by_setting(entries).items():
        for start in range(0, len(group), SERIES):
            figures.append(_curve(setting, group[start : start + SERIES]))
    areas = _cells("Headline measure by noise, and the area below", robustness_cells(entries))
    return Section(key, title, joined(grid(*figures), areas))


def _by_setting(entries: Sequence[Robustness]) -> Mapping[Setting, list[Robustness]]:
    found: dict[Setting, list[Robustness]] = {}
    for entry in entries:
        found.setdefault(entry.setting, []).append(entry)
    return found


def _curve(setting: Setting, entries: Sequence[Robustness]) -> Html:
    ratios = sorted({ratio for entry in entries for ratio in entry.ratios})
    measure = SHOWN[setting.track][-1]
    lines = []
    for entry in entries:
        means, stds = (dict(zip(entry.ratios, part, strict=True)) for part in (entry.means, entry.stds))
        lines.append(Line(entry.method, [means.get(at) for at in ratios], [stds.get(at) for at in ratios]))
    chart = LineChart(
        [100 * ratio for ratio in ratios],
        lines,
        "wrong labels (%)" if setting.track == "labels" else "wrong pairs (%)",
        TITLES[measure],
        whole_x=False,
        floor=0,
        ceiling=CEILINGS[measure],
    )
    head = ["noise (%)", *(name for line in lines for name in (line.name, f"{line.name} ±"))]
    rows = [
        [
            shown(100 * ratio),
            *(
                shown(value)
                for line in lines
                for value in (line.values[at], None if line.spread is None else line.spread[at])
            ),
        ]
        for at, ratio in enumerate(ratios)
    ]
    words = [word for word in (setting.data, setting.kind, setting.protocol) if word]
    name = f"{TITLES[measure]} by noise: {', '.join(words)}"
    return figure(
        name, chart, table(name, head, rows), "Mean over seeds; bars: one standard deviation either way."
    )


def _rows(comparison: Comparison) -> Section:
    notes = [*explanations(comparison), *comparison.notes]
    told = tag("ul", *(tag("li", text) for text in notes)) if notes else None
    if not comparison.rows:
        return Section("table", "All results", sentence("There are no finished runs to show."))
    headline = _cells("Headline measure, and differences", row_cells(comparison, all_measures=False))
    measures = row_cells(comparison).without(["seeds", "rank", *DIFFERENCES])
    return Section("table", "All results", joined(headline, told, _cells("Every measure", measures)))


def _cells(caption: str, cells: Cells) -> Html:
    """A table of text; a line between sections, their best in bold, what was not measured here in italics."""
    head = tag("tr", *(tag("th", name, scope="col") for name in cells.titles))
    body = []
    for row, best, measured, starts in zip(cells.rows, cells.best, cells.measured, cells.starts, strict=True):
        marks = (("best", best), ("theirs", not measured), ("starts", starts))
        style = " ".join(name for name, on in marks if on) or None
        first, *others = row
        columns = [
            tag("td", text, class_="word" if place < cells.words else None)
            for place, text in enumerate(others, 1)
        ]
        body.append(tag("tr", tag("th", first, scope="row"), *columns, class_=style))
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _heat_maps(comparison: Comparison) -> Section:
    """Headline measure of every method at every ratio, one map a setting."""
    groups: dict[tuple[str, str, str], list[ComparedRow]] = {}
    for row in comparison.rows:
        if row.source is None and row.mean is not None:
            kinds = (row.setting.data, row.setting.fingerprint, row.headline)
            groups.setdefault(kinds, []).append(row)
    maps = []
    for (data, _, measure), rows in groups.items():
        methods = list(dict.fromkeys(row.method for row in rows))
        noises = list(dict.fromkeys(row.noise for row in rows))
        means = {(row.method, row.noise): row.mean for row in rows}
        values = [[means.get((method, noise)) for noise in noises] for method in methods]
        known = [float(value) for value in means.values() if value is not None]
        low, high = min(known), max(known)
        maps.append(
            heat_map(
                f"{TITLES[measure]} on {data} by method and noise, mean over seeds; deeper is higher",
                "method",
                methods,
                noises,
                values,
                partial(_depth, low, high),
                one_decimal,
            )
        )
    if not maps:
        return Section("maps", "Heat maps", sentence("There is nothing to map."))
    return Section("maps", "Heat maps", joined(*maps))


def _depth(low: float, high: float, value: float) -> float:
    """How deep the colour of a value is, 0..1."""
    return 0.1 + 0.8 * (value - low) / (high - low) if high > low else 0.5


def _runs(rows: Sequence[ComparedRow], folder: Path | None) -> Section:
    lines = []
    for row in rows:
        for seed, path, value in zip(row.seeds, row.runs, row.values, strict=False):
            lines.append(
                [
                    escape(row.method),
                    escape(row.noise),
                    shown(seed),
                    one_decimal(value),
                    tag("a", path.name, href=_link(path, folder)),
                ]
            )
    if not lines:
        return Section("runs", "Runs", sentence("There are no runs."))
    listed = table("Every run, with its folder", ["method", "noise", "seed", "measure", "folder"], lines)
    said = sentence("A link leads to the folder of a run; 'robustcmr report' writes a page into it.")
    return Section("runs", "Runs", joined(said, folded(f"All {len(lines):,} runs", listed)))


def _link(path: Path, folder: Path | None) -> str:
    """Where a run lies from the page: its own page where it has one, its folder otherwise."""
    page = path / "report.html"
    target = page if page.is_file() else path
    if folder is None:
        return target.absolute().as_uri()
    relative = Path(os.path.relpath(target.absolute(), folder.absolute()))
    return "/".join(quote(part) for part in relative.parts)
