"""The page of a sweep or any other comparison: curves over noise, tables, heat maps, links to the runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from robustcmr.reporting.agreement import Setting
from robustcmr.reporting.charts import SERIES, Chart, Table, line_chart
from robustcmr.reporting.compared import (
    CEILINGS,
    SHOWN,
    TITLES,
    ComparedRow,
    Comparison,
    Robustness,
    labelled,
)
from robustcmr.reporting.comparison_tables import DIFFERENCES, explanations, robustness_cells, row_cells
from robustcmr.reporting.completeness import incompleteness
from robustcmr.reporting.pages import Section, render


def comparison_page(comparison: Comparison, title: str = "Comparison", folder: Path | None = None) -> str:
    """Return the whole page as HTML.

    Args:
        comparison: of the runs.
        title: a heading.
        folder: where the page will lie, from which links to the runs lead; None for links that hold on this
            machine alone.
    """
    measured = [row for row in comparison.rows if row.source is None]
    data = ", ".join(dict.fromkeys(row.setting.data for row in measured))
    count = len({path for row in measured for path in row.runs})
    lead = f"{count:,} runs on {data}, measured on {comparison.split}."
    if comparison.mixed:
        lead += f" Mixed on request: the rows differ in {', '.join(comparison.mixed)}."
    if lacking := incompleteness(comparison.planned):
        lead += f" {lacking[0]}"
    sections = [
        _table(comparison),
        _robustness(comparison),
        _maps(comparison),
        _runs(comparison.rows, folder),
    ]
    return render("comparison.html.j2", title, lead, sections, "Made by robustcmr.")


def _table(comparison: Comparison) -> Section:
    if not comparison.rows:
        return Section("table", "Results", ["There are no finished runs to show."])
    tables = [
        ("Headline measure, and differences", row_cells(comparison, all_measures=False)),
        ("Every measure", row_cells(comparison).without(["seeds", "rank", *DIFFERENCES])),
    ]
    notes = [*incompleteness(comparison.planned), *explanations(comparison), *comparison.notes]
    return Section("table", "Results", (), "cells", {"tables": tables, "notes": notes})


def _robustness(comparison: Comparison) -> Section:
    entries = comparison.robustness
    if not entries:
        why = "No method was run at two or more noise ratios, so there are no curves."
        return Section("robustness", "Robustness", [why])
    tables = [("Headline measure by noise, and the area below", robustness_cells(comparison))]
    content = {"tables": tables, "notes": ()}
    return Section("robustness", "Robustness", (), "cells", content, charts=list(_curves(entries)))


def _curves(entries: Sequence[Robustness]) -> Iterator[Chart | None]:
    """A chart a setting, or several where there are more methods than a chart holds."""
    for setting in dict.fromkeys(entry.setting for entry in entries):
        group = [entry for entry in entries if entry.setting == setting]
        for start in range(0, len(group), len(SERIES)):
            yield _curve(setting, group[start : start + len(SERIES)])


def _curve(setting: Setting, entries: Sequence[Robustness]) -> Chart | None:
    ratios = sorted({ratio for entry in entries for ratio in entry.ratios})
    measure = SHOWN[setting.track][-1]
    lines, spreads = {}, {}
    for entry in entries:
        means, stds = (dict(zip(entry.ratios, part, strict=True)) for part in (entry.means, entry.stds))
        name = labelled(entry.method, entry.n_models)
        lines[name] = [means.get(at) for at in ratios]
        spreads[name] = [stds.get(at) for at in ratios]
    words = ", ".join(word for word in (setting.data, setting.kind, setting.protocol) if word)
    title = f"{TITLES[measure]} by noise: {words}"
    noun = "labels" if setting.track == "labels" else "pairs"
    return line_chart(
        title,
        [100 * ratio for ratio in ratios],
        lines,
        TITLES[measure],
        "percent",
        x_name=f"wrong {noun} (%)",
        spreads=spreads,
        ceiling=CEILINGS[measure],
        note="Mean over seeds; bars: one standard deviation either way.",
    )


def _maps(comparison: Comparison) -> Section:
    """The headline measure of every method at every ratio, one map a data set."""
    groups: dict[tuple[str, str, str], list[ComparedRow]] = {}
    for row in comparison.rows:
        if row.source is None and row.mean is not None:
            groups.setdefault((row.setting.data, row.setting.fingerprint, row.headline), []).append(row)
    if not groups:
        return Section("maps", "Heat maps", ["There is nothing to map."])
    maps = []
    for (data, _, measure), rows in groups.items():
        noises = list(dict.fromkeys(row.noise for row in rows))
        means = {(row.label, row.noise): row.mean for row in rows}
        body = [
            (method, *(means.get((method, noise)) for noise in noises))
            for method in dict.fromkeys(row.label for row in rows)
        ]
        known = [value for value in means.values() if value is not None]
        low, high = min(known), max(known)
        caption = f"{TITLES[measure]} on {data} by method and noise, mean over seeds; deeper is higher"
        table = Table(caption, ("method", *noises), body, "percent")
        maps.append((table, low, high if high > low else low + 1.0))
    return Section("maps", "Heat maps", (), "maps", {"maps": maps})


def _runs(rows: Sequence[ComparedRow], folder: Path | None) -> Section:
    runs = [
        {"method": row.label, "noise": row.noise, "seed": seed, "value": value, "name": path.name}
        | {"link": _link(path, folder)}
        for row in rows
        for seed, path, value in zip(row.seeds, row.runs, row.values, strict=False)
    ]
    text = "A link leads to the folder of a run; 'robustcmr report' writes a page into it."
    measures = " or ".join(dict.fromkeys(TITLES[row.headline] for row in rows if row.runs))
    content = {"runs": runs, "measure": measures}
    return Section("runs", "Runs", [text if runs else "There are no runs."], "runs", content)


def _link(path: Path, folder: Path | None) -> str:
    """Where a run lies from the page: its own page where it has one, its folder otherwise."""
    page = path / "report.html"
    target = page if page.is_file() else path
    if folder is None:
        return target.absolute().as_uri()
    relative = Path(os.path.relpath(target.absolute(), folder.absolute()))
    return "/".join(quote(part) for part in relative.parts)
