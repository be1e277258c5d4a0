"""Tables of a whole-set rematching for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

_SEARCHES = {
    "vectors": "products of one vector per side, over everything",
    "all": "the matcher's own scores of all pairs",
    "shortlist": "the matcher's own scores of a shortlist by pooled vectors",
}
"""Descriptions of the ways to search."""

_QUALITIES = {
    "plan": "moved mass",
    "suggestions": "suggestions",
    "suggestions_same_mass": "suggestions, most moved",
    "best_score": "best score",
    "best_score_same_mass": "best score, highest",
    "candidates": "candidates, evenly",
    "chance": "any other image",
    "reachable": "reachable",
}
"""Rows of the quality table, by measure."""


def outcome_table(outcome: Mapping[str, Any]) -> Table:
    """Return the size and the outcome of a rematching."""
    share = f"{outcome['suspected'] / outcome['pairs']:.1%}"
    moved = f"{outcome['mass']:.4g}"
    if outcome["asked"] is not None and outcome["mass"] < 0.999 * outcome["asked"]:
        moved += f" (of {outcome['asked']:g} requested; the candidates allow no more)"
    error = f"{outcome['error']:.1e}"
    if outcome["iterations"] is not None:
        error += f", {outcome['iterations']} iterations"
    seconds = outcome["seconds"]
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1, 0, 0), show_edge=False)
    for name, value in {
        "suspected pairs": f"{outcome['suspected']:,} of {outcome['pairs']:,} ({share})",
        "images": f"{outcome['images']:,}",
        "candidates by": _SEARCHES[outcome["search"]],
        "pairs scored": f"{outcome['scored']:,}",
        "edges": f"{outcome['edges']:,}",
        "mass moved": moved,
        "marginal error": error,
        "seconds": f"{seconds['candidates']:.1f} for candidates, {seconds['transport']:.1f} for transport",
    }.items():
        table.add_row(name, value)
    return table


def quality_table(quality: Mapping[str, float]) -> Table:
    """Return the shares that reach a picture that the caption is true of, in percent."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("of these, on pictures the caption is true of")
    table.add_column("%", justify="right")
    for key, name in _QUALITIES.items():
        if key in quality:
            table.add_row(name, f"{100 * quality[key]:.1f}")
    return table
