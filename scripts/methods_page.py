"""The page docs/methods.md: every registered method, from its class and scripts/results/methods_cost.csv."""

from __future__ import annotations

import inspect
import re
from statistics import fmean

from leaderboard_page import DOCS, table
from run_table import RESULTS, read_rows

from robustcmr import plugins
from robustcmr.methods.base import Method

PAGE = DOCS / "methods.md"
HEAD = """# Methods

All methods that robustcmr registers, written by `python scripts/leaderboard.py --pages` from their
classes: a method is here by existing. Its card has the formula, the options, and how it departs from its
paper; [the leaderboard](leaderboard.md) says how well it does.

**networks**: how many matchers it trains. **estimates**: whether it says which pairs are wrong, or which
class is right. **cost**: time of a training step relative to plain training (`infonce`) on VSE-infinity /
OMIT, at batches of 128 (`scripts/results/methods_cost.csv`). **released**: whether `--set
method.released=true` follows the released code where that differs from the paper.
"""
TRACKS = {"pairs": "Mismatched pairs", "labels": "Wrong labels"}


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    costs = costs_by_method()
    for track, title in TRACKS.items():
        lines = [["method", "idea", "networks", "estimates", "cost", "paper", "released"]]
        for name in methods(track):
            lines.append(
                [f"[`{name}`](cards/{name}.md)", *described(name), costs.get(name, ""), *references(name)]
            )
        parts += [f"## {title}\n", table([[cell.replace("|", r"\|") for cell in line] for line in lines])]
    return "\n".join(parts)


def methods(track: str) -> list[str]:
    """This package's methods of a track."""
    return [
        name
        for name in plugins.methods.names()
        if (plugins.methods.announced(name) or "").startswith("robustcmr.")
        and plugins.methods.load(name).track == track  # type: ignore[attr-defined]
    ]


def described(name: str) -> list[str]:
    """Idea, number of networks, and whether it estimates, of a method."""
    cls = plugins.methods.load(name)
    estimates = "yes" if cls.estimate is not Method.estimate else "no"  # type: ignore[attr-defined]
    return [first_sentence(cls), str(cls.n_matchers), estimates]  # type: ignore[attr-defined]


def references(name: str) -> list[str]:
    """Paper of a method, and whether it can follow the released code."""
    cls = plugins.methods.load(name)
    return [paper(cls), "yes" if "released" in cls.Config.model_fields else "no"]  # type: ignore[attr-defined]


def paper(cls: type) -> str:
    """What a class's docstring refers to."""
    _, _, cited = documentation(cls).partition("References:\n")
    return plain(" ".join(re.split(r"\n\s*\n", cited)[0].split()))


def documentation(cls: type) -> str:
    """Docstring of the class itself."""
    return inspect.cleandoc(cls.__doc__ or "")


def first_sentence(cls: type) -> str:
    """The first sentence of a class's docstring, without its full stop; raise ValueError if it has none."""
    text = documentation(cls).split("\n\n")[0]
    if not text:
        raise ValueError(f"{cls.__name__} has no docstring; its first sentence is its row in docs/methods.md")
    return plain(" ".join(text.split())).removesuffix(".")


def plain(text: str) -> str:
    """Markup of docstrings as Markdown."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def costs() -> dict[tuple[str, str], float]:
    """Cost of a step relative to plain training by matcher and method, as far as it was measured."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in read_rows(RESULTS / "methods_cost.csv"):
        if row.get("method") and row.get("step_ratio"):
            found.setdefault((row["matcher"], row["method"]), []).append(float(row["step_ratio"]))
    return {key: fmean(values) for key, values in found.items()}


def costs_by_method() -> dict[str, str]:
    """Costs on both matchers as text."""
    known = costs()
    names = {name for _, name in known}
    both = {name: [known.get((matcher, name)) for matcher in ("vse_infty", "omit")] for name in names}
    return {
        name: " / ".join("–" if cost is None else f"{cost:.1f}" for cost in each)
        for name, each in both.items()
    }
