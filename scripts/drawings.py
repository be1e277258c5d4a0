"""Draw the pictures of the concept pages, docs/pictures/, from the library at work on the embedded scenes.

    python scripts/drawings.py                      # trains the run first if it is not there, a few minutes
    python scripts/drawings.py --run runs/first     # on a run that is there: OMIT on scenes, captions moved

`protocols` is made noise, `noise_rate` follows from scripts/results/methods_scenes.csv, the others show a
run.
"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from run_table import RESULTS, read_rows

import robustcmr
from noise_injection import make_mismatch, read_noise_file
from robustcmr.correction import Candidates, allowed_cells, rematch_whole_set
from robustcmr.data.base import PairsSplit
from robustcmr.data.scenes import Scenes
from robustcmr.data.tokens import tokenize
from robustcmr.jobs.encode import Encoder
from robustcmr.jobs.model import Model
from robustcmr.reporting.charts import CARD, INK, MUTED, PARTS, SERIES, STYLE
from robustcmr.selection import batch_cross_entropy, divide_by_reference
from robustcmr.transport import balanced_plan, partial_plan
from robustcmr.types import Division

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
RIGHT, WRONG = SERIES[0], SERIES[1]
Array = npt.NDArray[np.float32]


@dataclass
class Example:
    """A run on the embedded scenes, and the truth about its training pairs, which only drawings see."""

    path: Path
    sample: int = 2500

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """(n,) captions that are drawn from, in random order."""
        return np.random.default_rng(0).permutation(len(self.given_images))[: self.sample]

    @cached_property
    def data(self) -> Scenes:
        """The scenes."""
        return Scenes(Scenes.Config())

    @cached_property
    def train(self) -> PairsSplit:
        """The training split, all pairs right."""
        return self.data.split("train")

    @cached_property
    def run(self) -> robustcmr.TrainedRun:
        """The run."""
        if not (self.path / "checkpoints" / "best").exists():
            robustcmr.train(noise=0.4, output=self.path)
        return robustcmr.load(self.path)

    @cached_property
    def given_images(self) -> npt.NDArray[np.int64]:
        """Image that each caption was given, of all captions."""
        return read_noise_file(self.run.path / "noise.npz").values

    @property
    def given(self) -> npt.NDArray[np.int64]:
        """(n,) image that each caption was given."""
        return self.given_images[self.rows]

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """(n,) image that each caption was written for."""
        return np.asarray(self.train.image_of_caption)[self.rows]

    @property
    def captions(self) -> list[str]:
        """The captions."""
        return [self.train.captions[row] for row in self.rows]

    @cached_property
    def evidence(self) -> Array:
        """(n, 2) cross entropy of each pair in a batch, and of one mismatched on purpose, or NaN."""
        found = np.empty((len(self.rows), 2), np.float32)
        for chosen in np.array_split(np.arange(len(self.rows)), len(self.rows) // 125):
            images = self.given[chosen]
            same = torch.as_tensor(images[:, None] == images)
            found[chosen] = batch_cross_entropy(torch.as_tensor(self.scores(images, chosen)), same_image=same)
        return found

    @cached_property
    def divided(self) -> Division:
        """Division of the pairs by their evidence."""
        own, reference = self.evidence.T
        return divide_by_reference(own, reference[~np.isnan(reference)])

    def scores(self, images: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]) -> Array:
        """(n, m) scores of images with captions, chosen by their place among the n."""
        return self.run.score(self.train.features.take(images), [self.captions[place] for place in chosen])

    def good_pair(self) -> int:
        """Place of a right pair of few words that the run is sure of."""
        short = np.array([6 <= len(caption.split()) <= 9 for caption in self.captions])
        sure = self.divided.clean_probability > 0.99
        return int(np.flatnonzero((self.given == self.truth) & sure & short)[0])

    def chain(self, n: int) -> npt.NDArray[np.int64]:
        """(n,) places of wrong pairs, some of whose captions were written for an image given to another."""
        wrong = np.flatnonzero(self.given != self.truth).tolist()
        by_image = {int(self.given[place]): place for place in wrong}
        found = [wrong[0]]
        while len(found) < n:
            after = by_image.get(int(self.truth[found[-1]]))  # the pair that was given this caption's image
            fresh = after is not None and after not in found
            found.append(after if fresh else next(place for place in wrong if place not in found))
        return np.random.default_rng(1).permutation(np.array(found))


def figure(width: float, height: float) -> Figure:
    """Return an empty figure in inches."""
    made = Figure(figsize=(width, height), layout="constrained", facecolor=CARD)
    FigureCanvasAgg(made)
    return made


def save(made: Figure, name: str, form: str = "svg") -> None:
    """Write a picture that looks the same on a light and on a dark page: its ground is white."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    made.savefig(FOLDER / f"{name}.{form}", dpi=110, bbox_inches="tight", pad_inches=0.12, metadata=metadata)
    print(f"written to {FOLDER / name}.{form}")


def bare(axes: Axes) -> None:
    """Leave out ticks, frame and grid."""
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def protocols() -> None:
    """Five images of four captions: as they are, and 40% mismatched by each protocol."""
    images, each = 5, 4
    truth = np.repeat(np.arange(images), each)
    panels = {"all pairs right": truth}
    for name in ("caption", "image"):
        panels[f"protocol {name}, 40%"] = make_mismatch(truth, 0.4, protocol=name, seed=5, derange=True)[0]
    made = figure(9.0, 3.6)
    for axes, (title, given) in zip(made.subplots(1, 3), panels.items(), strict=True):
        bare(axes)
        axes.set(xlim=(-1.5, each + 0.1), ylim=(images - 0.4, -0.9), aspect="equal")
        axes.set_title(title, loc="left", fontsize=12, color=INK)
        whole = sum(bool((given[truth == image] == image).any()) for image in range(images))
        axes.set_xlabel(f"{whole} of {images} images keep a right caption", fontsize=10, loc="left")
        for image in range(images):
            cell(axes, -1.25, image, chr(ord("A") + image), INK, 0.95)
            captions = truth[given == image]  # written for these images
            for place, written in enumerate(sorted(captions, key=lambda of: (of != image, of))):
                colour = RIGHT if written == image else WRONG
                cell(axes, place, image, chr(ord("a") + int(written)), colour, 0.8)
    save(made, "protocols")


def cell(axes: Axes, x: float, y: float, text: str, colour: str, size: float) -> None:
    """Draw a rounded square with a letter."""
    low = 0.5 - size / 2
    style = f"round,pad=0,rounding_size={0.2 if text.islower() else 0.05}"
    place = (x + low, y - size / 2)
    axes.add_patch(FancyBboxPatch(place, size, size, boxstyle=style, facecolor=colour, edgecolor="none"))
    axes.text(x + 0.5, y + 0.02, text, ha="center", va="center", color=CARD, fontsize=12)


def division(example: Example) -> None:
    """Evidence of right, wrong and purposely mismatched pairs, and the clean probability that follows."""
    divided, (evidence, reference) = example.divided, example.evidence.T
    wrong, reference = example.given != example.truth, reference[~np.isnan(reference)]
    made = figure(7.4, 5.0)
    above, below = made.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    edges = np.linspace(0, np.log1p(np.quantile(evidence, 0.999)), 48)
    parts = [np.log1p(evidence[~wrong]), np.log1p(evidence[wrong])]
    labels = ["pairs that are right", "pairs that are wrong (the method does not know)"]
    above.hist(parts, edges, stacked=True, color=PARTS, label=labels)
    counts, _ = np.histogram(np.log1p(reference), edges)
    height = counts * wrong.sum() / counts.sum()
    label = "reference: pairs mismatched on purpose, scaled"
    above.step(edges, np.append(height, 0), where="post", color=INK, linewidth=1.4, label=label)
    above.set(ylabel="pairs", ylim=(0, 1.4 * above.get_ylim()[1]))
    above.legend(fontsize=9.5, loc="upper left")
    sort = np.argsort(evidence)
    below.plot(np.log1p(evidence[sort]), divided.clean_probability[sort], color=RIGHT)
    below.axhline(divided.threshold, color=MUTED, linewidth=1, linestyle="--")
    cut = np.log1p(evidence[divided.is_clean].max())
    for axes in (above, below):
        axes.axvline(cut, color=MUTED, linewidth=1, linestyle="--")
        axes.margins(x=0)
    below.text(cut - 0.05, 0.22, "clean", ha="right", color=INK, fontsize=10)
    below.text(cut + 0.05, 0.72, "suspect", ha="left", color=INK, fontsize=10)
    below.set(ylabel="clean probability", xlabel="evidence against the pair, log(1 + cross entropy)")
    rate, (low, high) = divided.noise_rate, divided.noise_interval
    made.suptitle(
        f"estimated share of wrong pairs {rate:.1%} ({low:.1%} to {high:.1%}); in truth {wrong.mean():.1%}",
        x=0.01,
        ha="left",
        fontsize=11.5,
    )
    save(made, "division")


def pair_plan(example: Example) -> None:
    """A scene, its regions, and the plan that moves their weight to the words of a caption."""
    place = example.good_pair()
    image, caption = int(example.truth[place]), example.captions[place]
    model = Model(example.path, "cpu", "best")
    encoder, matcher = Encoder(model, batch_size=1), model.matchers[0]
    sides = [encoder.embed("images", example.train.features.take(np.array([image])))]
    sides.append(encoder.embed("texts", [caption]))
    (regions,), (tokens,) = (side.fragments(np.zeros(1, np.int64)) for side in sides)  # type: ignore[misc]
    with torch.no_grad():
        plan = matcher.plan(regions, tokens)[0].numpy()  # type: ignore[operator]  # (R, W)
    words = ["start", *tokenize(caption), "end"]
    boxes = np.asarray(example.train.features.take(np.array([image])))[0, :, -4:]
    picture = example.train.picture(image)  # type: ignore[misc]
    corners = ((boxes + 1) / 2 * np.tile(picture.size, 2)).round().astype(int)
    made = figure(9.2, 4.9)
    left, right = made.subfigures(1, 2, width_ratios=(1, 1.75))
    whole = left.subplots()
    bare(whole)
    whole.imshow(picture)
    whole.set_title("\n".join(textwrap.wrap(f"“{caption}”", 36)), fontsize=10.5, loc="left", color=INK)
    grid = right.add_gridspec(len(boxes), 2, width_ratios=(1, 13), wspace=0.02)
    axes = right.add_subplot(grid[:, 1])
    order = np.argsort(-plan.max(1))
    heat(axes, plan[order] / plan.max())
    axes.set_xticks(np.arange(len(words)) + 0.5, words, rotation=40, ha="right", fontsize=10)
    axes.set_title("plan: how much of each region goes to each word", fontsize=11, loc="left", color=INK)
    for place, region in enumerate(order):
        crop = right.add_subplot(grid[place, 0])
        bare(crop)
        crop.imshow(picture.crop(corners[region].tolist()).resize((28, 28)))
    save(made, "pair_plan", "png")


def heat(axes: Axes, values: Array, ringed: Array | None = None) -> None:
    """Draw a matrix of values in 0..1, cells that are ringed in another colour."""
    bare(axes)
    axes.pcolormesh(values, cmap="Blues", vmin=0, vmax=1, edgecolors="#e6eaef", linewidth=0.5)
    axes.invert_yaxis()
    for row, column in () if ringed is None else np.argwhere(ringed):
        style = {"fill": False, "edgecolor": WRONG, "linewidth": 1.6}
        axes.add_patch(Rectangle((column + 0.06, row + 0.06), 0.88, 0.88, **style))


def partial(example: Example, n: int = 12, mass: float = 0.4) -> None:
    """Costs of suspected captions and images of a batch, and two plans: all of the mass, and a part of it."""
    chosen = example.chain(n)
    images, pairs = example.given[chosen], torch.arange(n)
    cost = torch.as_tensor(1 - example.scores(images, chosen))
    fits = example.truth[chosen] == images[:, None]  # (n, n): the caption was written for the image
    allowed = allowed_cells(pairs, pairs)
    weights = torch.full((n,), 1 / n)
    whole = balanced_plan(cost, weights, weights).plan.numpy()
    part = partial_plan(cost, weights, weights, mass=mass, allowed=allowed).plan.numpy()
    made = figure(9.2, 3.9)
    titles = (
        "score of image and caption",
        f"balanced plan: all mass moves\n{whole[fits].sum() / whole.sum():.0%} of it to the right image",
        f"partial plan: {mass:.0%} moves, given pairs barred\n"
        f"{part[fits].sum() / part.sum():.0%} of it to the right image",
    )
    low, high = float(cost.min()), float(cost.max())
    shown = ((high - cost.numpy()) / (high - low), whole * n, part * n)
    for axes, title, values in zip(made.subplots(1, 3), titles, shown, strict=True):
        heat(axes, values, fits)
        axes.set(aspect="equal", xlabel="captions", ylabel="images")
        axes.set_title(title, fontsize=10.5, loc="left", color=INK)
    save(made, "partial")


def rematching(example: Example, k: int = 10, mass: float = 0.5) -> None:
    """Suspected captions with the picture they were given, and the one that a whole-set plan suggests."""
    suspects = np.flatnonzero(~example.divided.is_clean)
    everything = np.arange(example.train.n_images)
    found = Candidates.from_scores(example.scores(everything, suspects), k, example.given[suspects])
    plan = rematch_whole_set(found, n_images=len(everything), mass=mass)
    suggested = found.images[torch.arange(len(suspects)), plan.place].numpy()
    sure = (plan.moved * plan.share).numpy()
    right = suggested == example.truth[suspects]
    rows = example.rows[suspects]
    fits = [
        example.data.fits("train", int(row), np.array([to]))[0]
        for row, to in zip(rows, suggested, strict=True)
    ]
    fits = np.array(fits)
    best = np.argsort(-sure)
    chosen = [*best[right[best]][:2], best[fits[best] & ~right[best]][0], best[~fits[best]][0]]
    says = ("its own picture", "its own picture", "another that it is true of", "wrong")
    made = figure(9.2, 4.3)
    axes = made.subplots(2, len(chosen))
    for column, (place, verdict) in enumerate(zip(chosen, says, strict=True)):
        suspect = int(suspects[place])
        above, below = axes[:, column]
        for each in (above, below):
            bare(each)
        above.imshow(example.train.picture(int(example.given[suspect])))  # type: ignore[misc]
        below.imshow(example.train.picture(int(suggested[place])))  # type: ignore[misc]
        caption = "\n".join(textwrap.wrap(example.captions[suspect], 27))
        above.set_title(caption, fontsize=9.5, loc="left", color=INK)
        below.set_xlabel(verdict, fontsize=10, color=WRONG if verdict == "wrong" else RIGHT, loc="left")
    axes[0, 0].set_ylabel("given", fontsize=11, color=INK)
    axes[1, 0].set_ylabel("suggested", fontsize=11, color=INK)
    save(made, "rematching", "png")
    print(f"suggestions: {right.mean():.1%} own, {fits.mean():.1%} fitting, of {len(suspects)}")


def noise_rate() -> None:
    """Estimated share of wrong pairs against the injected share, of robust and of a plain mixture."""
    rows = read_rows(RESULTS / "methods_scenes.csv")
    made = figure(6.4, 4.3)
    axes = made.subplots()
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="--", label="exact")
    kinds = {
        "robust": ("robust: against pairs mismatched on purpose", RIGHT, "o", -0.7),
        "l2rm": ("l2rm: a mixture of two groups", WRONG, "^", 0.7),
    }
    for method, (label, colour, marker, shift) in kinds.items():
        own = [row for row in rows if row["row"] == method and row["noise"].startswith("caption:")]
        x = [100 * float(row["ratio_realised"]) + shift for row in own]
        y = [100 * float(row["noise_rate"] or 0) for row in own]  # empty: nothing is suspected
        axes.plot(x, y, marker, color=colour, label=label, markersize=6, alpha=0.85)
    axes.set(xlim=(-4, 100), ylim=(-4, 100), xlabel="injected share of wrong pairs, %", ylabel="estimated, %")
    axes.legend(fontsize=9.5, loc="upper left")
    save(made, "noise_rate")


def effort(example: Example) -> None:
    """Share of wrong pairs among those looked at, and of all wrong pairs found, the worst suspects first."""
    wrong = example.given != example.truth
    order = np.argsort(example.divided.clean_probability, kind="stable")
    found = np.cumsum(wrong[order])
    reviewed = np.arange(1, len(order) + 1)
    x = 100 * reviewed / len(order)
    made = figure(6.4, 4.0)
    axes = made.subplots()
    axes.plot(x[24:], 100 * (found / reviewed)[24:], color=WRONG, label="wrong, of the pairs looked at")
    axes.plot(x, 100 * found / wrong.sum(), color=RIGHT, label="found, of all wrong pairs")
    axes.plot(x, x, color=MUTED, linewidth=1, linestyle="--", label="found, looking at random")
    axes.axvline(100 * wrong.mean(), color=MUTED, linewidth=0.8, linestyle=":")
    axes.text(100 * wrong.mean() + 1, 25, "as many as are wrong", fontsize=9, color=MUTED)
    axes.set(xlim=(0, 100), ylim=(0, 102), xlabel="pairs looked at, the worst suspects first, %", ylabel="%")
    axes.legend(fontsize=9.5, loc="lower right")
    save(made, "effort")
    most = int(wrong.sum())
    print(f"after {most} of {len(order)} pairs: {found[most - 1] / most:.1%} of the wrong pairs are found")


def main() -> None:
    """Draw all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--run", type=Path, default=Path("runs/drawings"), help="a run on the embedded scenes"
    )
    of_run = {"division": division, "pair_plan": pair_plan, "partial": partial}
    of_run |= {"rematching": rematching, "effort": effort}
    alone = {"protocols": protocols, "noise_rate": noise_rate}
    parser.add_argument("--only", nargs="+", choices=[*of_run, *alone], default=[*of_run, *alone])
    options = parser.parse_args()
    example = Example(options.run)
    with mpl.rc_context({**STYLE, "svg.fonttype": "path"}):
        for name in options.only:
            if name in alone:
                alone[name]()
            else:
                of_run[name](example)


if __name__ == "__main__":
    main()
