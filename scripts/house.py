"""Draw the rooms of the package, docs/pictures/house.svg, from CONTRIBUTING.md and what the code imports."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from drawings import RIGHT, bare, figure, save
from matplotlib.patches import FancyBboxPatch

from robustcmr.reporting.charts import CARD, INK, STYLE

ROOT = Path(__file__).resolve().parents[1]


def rooms_of(text: str) -> dict[str, int]:
    """Floor of each room that the overview in CONTRIBUTING.md names."""
    found, floor = {}, 0
    block = text.split("<!-- rooms -->", 1)[1].split("```text\n", 1)[1].split("```", 1)[0]
    for line in block.splitlines():
        head, names = line[:4].strip(), line[4:28].split()
        floor = int(head) if head else floor
        found |= {name.rstrip("/"): floor for name in names}
    return found


def imports(room: str, rooms: Mapping[str, int]) -> set[str]:
    """The rooms that a room imports from."""
    folder = ROOT / (room if room == "noise_injection" else f"robustcmr/{room}")
    known = set()
    for path in folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = node.module.split(".")
                known.add(parts[1] if parts[0] == "robustcmr" and len(parts) > 1 else parts[0])
    return (known & rooms.keys()) - {room}


def house() -> None:
    """The rooms of the package by floor, and a line from each to every room that it imports from."""
    rooms = rooms_of((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    made = figure(8.4, 6.2)
    axes = made.subplots()
    bare(axes)
    height, gap, places = 4.6, 1.8, {}
    for floor in range(max(rooms.values()) + 1):
        here = [room for room in rooms if rooms[room] == floor]
        widths = [3.5 + 1.05 * len(room) for room in here]
        left = 50 - (sum(widths) + gap * (len(here) - 1)) / 2
        for room, width in zip(here, widths, strict=True):
            at = (left, 10.0 * floor)
            places[room] = (left + width / 2, at[1])
            style = {"boxstyle": "round,pad=0.1", "facecolor": CARD, "edgecolor": RIGHT}
            axes.add_patch(FancyBboxPatch(at, width, height, zorder=3, **style))
            axes.text(
                *(left + width / 2, at[1] + height / 2, room),
                **{"ha": "center", "va": "center", "fontsize": 10.5, "color": INK, "zorder": 4},
            )
            left += width + gap
    for room, (x, y) in places.items():
        for other in sorted(imports(room, rooms)):
            to_x, to_y = places[other]
            axes.plot([x, to_x], [y, to_y + height], color=RIGHT, alpha=0.2, linewidth=0.8, zorder=1)
    axes.set(xlim=(2, 98), ylim=(-1, 10 * max(rooms.values()) + 6))
    save(made, "house")


if __name__ == "__main__":
    with mpl.rc_context({**STYLE, "svg.fonttype": "path"}):
        house()
