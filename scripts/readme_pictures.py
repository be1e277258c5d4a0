"""Draw the pictures of README.md and docs/ into docs/images.

    python scripts/readme_pictures.py                   # robustness.png, of scripts/results/noise_sweep.csv
    robustcmr train --noise 0.4 --output runs/first
    python scripts/readme_pictures.py --run runs/first  # wrong_pair.png and results/first_run.json as well

wrong_pair.png shows the most suspected pair of the run whose suggested picture is the true one. Both pictures
are white cards with a frame, which read well on a light and on a dark page.
"""

from __future__ import annotations

import argparse
import io
import sys
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from leaderboard_page import DOCS
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from result_tables import METHODS, RATIOS
from run_table import RESULTS, read_rows

from robustcmr.config.resolve import run_config
from robustcmr.files import write_json
from robustcmr.reporting.charts import CARD, INK, LINE, MUTED, STYLE, Chart, line_chart
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.types import IntArray

KEPT = (
    *("data", "data_fingerprint", "matcher", "method", "seed", "noise_hash", "selection_split"),
    *("best_epoch", "epochs", "splits", "findings", "robustcmr_version"),
)
"""What is kept of the results of the first run."""

WRONG, RIGHT = "#b3261e", "#0a7a4b"
DPI = 110


def main() -> None:
    """Draw what the options allow."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--run", type=Path, help="a finished run on the scenes, for wrong_pair.png")
    parser.add_argument("--output", type=Path, default=DOCS / "images", help="folder to write to")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of first_run.json")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    write(robustness().figure, options.output / "robustness.png")
    if options.run is not None:
        figure, shown = wrong_pair(options.run)
        write(figure, options.output / "wrong_pair.png")
        results = RunFolder(options.run).read_results() or {}
        kept = {**{key: results.get(key) for key in KEPT}, "wrong_pair": shown}
        write_json(options.results / "first_run.json", kept)


def write(figure: Figure, path: Path) -> None:
    """Save a figure with a frame, in few colours to keep the file small."""
    file = io.BytesIO()
    with mpl.rc_context(STYLE):
        edge = Rectangle((0, 0), 1, 1, transform=figure.transFigure, fill=False, edgecolor=LINE, linewidth=3)
        figure.add_artist(edge)
        figure.savefig(file, format="png", dpi=DPI, facecolor=CARD)
    few = Image.open(file).convert("RGB").quantize(96, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"written to {path}")


def robustness() -> Chart:
    """RSum by the share of wrong pairs, a line a method."""
    rows = read_rows(RESULTS / "noise_sweep.csv")
    lines, spreads = {}, {}
    for name, title in METHODS.items():
        mine = {float(row["noise_ratio"]): row for row in rows if row["method"] == name}
        if mine:
            lines[title] = [float(mine[float(ratio)]["rsum_mean"]) for ratio in RATIOS]
            spreads[title] = [float(mine[float(ratio)]["rsum_std"]) for ratio in RATIOS]
    chart = line_chart(
        "rSum by share of wrong pairs",
        [100 * float(ratio) for ratio in RATIOS],
        dict(reversed(lines.items())),
        "test rSum",
        x_name="wrong training pairs (%)",
        spreads=spreads,
    )
    if chart is None:
        sys.exit("scripts/results/noise_sweep.csv has no two noise levels of a method")
    layout = chart.figure.get_layout_engine()
    if layout is not None:
        layout.set(w_pad=0.12, h_pad=0.12)  # type: ignore[call-arg]
    return chart


def wrong_pair(folder: Path) -> tuple[Figure, dict[str, Any]]:
    """The given and the suggested picture of a suspected pair, and what can be said of it.

    Args:
        folder: a finished run on the scenes.

    Returns:
        The figure; and ``caption`` and ``clean_probability`` of the pair, the number of training
        ``images`` and of ``suspects``, and the share of their ``suggestions_right``.
    """
    config = run_config(RunFolder(folder).config)
    split = config.data.cls(config.data.options).split("train")
    table = PairsTable.read(RunFolder(folder).pairs)
    truth = np.asarray(split.image_of_caption)
    row = most_suspected(table, truth)
    right = (table.rematch == truth[table.pair])[~table.is_clean]
    shown = {
        "caption": table.caption[row],
        "clean_probability": round(float(table.clean_probability[row]), 4),
        "images": split.n_images,
        "suspects": len(right),
        "suggestions_right": round(float(right.mean()), 4),
    }
    with mpl.rc_context(STYLE):
        return drawn(split, table, row), shown


def most_suspected(table: PairsTable, image_of_caption: IntArray) -> int:
    """Row of the most suspected pair whose suggestion is the true image; exit if there is none.

    Args:
        table: the N pairs of a run.
        image_of_caption: (N,) the true image of each caption.
    """
    right = ~table.is_clean & (table.rematch == image_of_caption[table.pair])
    if not right.any():
        sys.exit("no suspected pair has the true picture as suggestion; train the run longer")
    rows = np.flatnonzero(right)
    return int(rows[np.lexsort((-table.evidence[rows], table.clean_probability[rows]))[0]])


def drawn(split: Any, table: PairsTable, row: int) -> Figure:
    """Draw the caption of a row above its given and its suggested picture."""
    figure = Figure(figsize=(7.0, 4.5), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.text(0.05, 0.93, "A caption of the training data", color=MUTED, fontsize=11)
    caption = "\n".join(textwrap.wrap(f"“{table.caption[row]}”", 62))
    figure.text(0.05, 0.9, caption, color=INK, fontsize=13, weight="bold", va="top", linespacing=1.3)
    clean = f"{100 * table.clean_probability[row]:.1f}% likely to be right"
    sides = (
        (0.05, table.image[row], WRONG, "✗  the picture it came with", clean),
        (0.53, table.rematch[row], RIGHT, "✓  the picture suggested instead", "the true one"),
    )
    for left, image, colour, title, under in sides:
        axes = figure.add_axes((left, 0.15, 0.42, 0.6))
        axes.imshow(np.asarray(split.picture(int(image))), interpolation="bicubic")
        axes.set(xticks=[], yticks=[], anchor="W")
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set(visible=True, color=colour, linewidth=3)
        figure.text(left, 0.09, title, color=colour, fontsize=12, weight="bold")
        figure.text(left, 0.04, under, color=MUTED, fontsize=11)
    return figure


if __name__ == "__main__":
    main()
