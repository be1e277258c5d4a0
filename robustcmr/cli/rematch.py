"""``robustcmr rematch``: an image of the whole training set for every pair a finished run suspects."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

SEARCHES = {
    "vectors": "products of one vector a side, over everything",
    "all": "the matcher's own scores of all pairs",
    "shortlist": "the matcher's own scores of a shortlist by pooled vectors",
}
"""How candidates were found, by the name of the search."""

QUALITIES = {
    "plan": "moved mass",
    "suggestions": "suggestions",
    "suggestions_same_mass": "suggestions, most moved",
    "best_score": "best score",
    "best_score_same_mass": "best score, highest",
    "candidates": "candidates, evenly",
    "chance": "any other image",
    "reachable": "reachable",
}
"""What the truth is compared with, by its name among the measures."""


def rematch(
    run: Annotated[Path, typer.Argument(help="Run folder of a method that divides pairs.")],
    top_k: Annotated[int, typer.Option(min=1, help="Candidate images a caption.")] = 50,
    plan: Annotated[
        str,
        typer.Option(
            help="sparse: over the candidates. dense: over all images, for a matcher with one vector a side, "
            "on an NVIDIA GPU."
        ),
    ] = "sparse",
    mass: Annotated[
        float | None,
        typer.Option(help="Part of the suspected captions' mass to move, up to 1; 0.5 by default. Sparse."),
    ] = None,
    reach: Annotated[
        float | None,
        typer.Option(
            help="Root of the price, in units of the score, of moving more or less than a share; 0.5 by "
            "default. Dense."
        ),
    ] = None,
    epsilon: Annotated[float, typer.Option(help="Smoothing of the plan, in units of the score.")] = 0.01,
    capacity: Annotated[
        float | None,
        typer.Option(help="Captions an image may take; by default even shares, but at least one caption."),
    ] = None,
    search: Annotated[
        str,
        typer.Option(
            help="auto, all or shortlist: which images a matcher without one vector a side scores itself."
        ),
    ] = "auto",
    shortlist: Annotated[int, typer.Option(min=1, help="Images a caption on such a shortlist.")] = 500,
    half: Annotated[bool, typer.Option("--half", help="Search vectors in bfloat16.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="CSV file to write; RUN/rematches.csv by default."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps; the run's own by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Suggest an image for every suspected pair, by one partial plan over the whole training set."""
    from rich.console import Console

    from robustcmr.cli.output import print_json, running
    from robustcmr.jobs.rematch import RematchOptions, rematch_run

    _check_plan(plan, mass, reach)
    mass = 0.5 if mass is None else mass
    if plan == "dense" and reach is None:
        reach = 0.5
    _check(mass, reach, epsilon, capacity, search)
    options = RematchOptions(top_k, mass, reach, epsilon, capacity, search, shortlist, half)  # type: ignore[arg-type]
    with running(run):
        told = rematch_run(run, options, output, device)
    if as_json:
        print_json({"run": str(run), **told})
        return
    if told["suspected"] == 0:
        sys.stdout.write(f"none of {told['pairs']:,} pairs is suspected; wrote {told['output']}\n")
        return
    console = Console()
    console.print(outcome_table(told))
    if "quality" in told:
        console.print(quality_table(told["quality"]))
    if not told["converged"]:
        lower = "--mass" if reach is None else "--reach"
        sys.stderr.write(f"the plan did not converge; raise --epsilon or lower {lower}\n")
    console.print(f"wrote {told['output']}", highlight=False, markup=False, soft_wrap=True)


def _check_plan(plan: str, mass: float | None, reach: float | None) -> None:
    """A sparse plan moves a mass, a dense one has a price."""
    from robustcmr.errors import ConfigError

    if plan not in ("sparse", "dense"):
        raise ConfigError(f"--plan is '{plan}', expected sparse or dense")
    strange, given, fits = (reach, "--reach", "--mass") if plan == "sparse" else (mass, "--mass", "--reach")
    if strange is not None:
        raise ConfigError(f"{given} does not go with a {plan} plan; give {fits} or the other plan")


def _check(mass: float, reach: float | None, epsilon: float, capacity: float | None, search: str) -> None:
    from robustcmr.errors import ConfigError

    if not 0 < mass <= 1:
        raise ConfigError(f"--mass is {mass}, expected more than 0 and at most 1")
    for name, value in {"--reach": reach, "--epsilon": epsilon, "--capacity": capacity}.items():
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{name} is {value}, expected a positive number")
    if search not in ("auto", "all", "shortlist"):
        raise ConfigError(f"--search is '{search}', expected auto, all or shortlist")


def outcome_table(told: Mapping[str, Any]) -> Table:
    """What was done, a line each."""
    from rich import box
    from rich.table import Table

    share = f"{told['suspected'] / told['pairs']:.1%}"
    moved = f"{told['mass']:.4g}"
    if told["asked"] is not None and told["mass"] < 0.999 * told["asked"]:
        moved += f" (of {told['asked']:g} asked for; the candidates let no more pass)"
    error = f"{told['error']:.1e}"
    if told["iterations"] is not None:
        error += f", {told['iterations']} iterations"
    seconds = told["seconds"]
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1, 0, 0), show_edge=False)
    for name, value in {
        "suspected pairs": f"{told['suspected']:,} of {told['pairs']:,} ({share})",
        "images": f"{told['images']:,}",
        "candidates by": SEARCHES[told["search"]],
        "pairs scored": f"{told['scored']:,}",
        "edges": f"{told['edges']:,}",
        "mass moved": moved,
        "marginal error": error,
        "seconds": f"{seconds['candidates']:.1f} for candidates, {seconds['transport']:.1f} for transport",
    }.items():
        table.add_row(name, value)
    return table


def quality_table(quality: Mapping[str, float]) -> Table:
    """How much of it reaches a picture that the caption is true of, in percent."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("of these, on pictures the caption is true of")
    table.add_column("%", justify="right")
    for key, name in QUALITIES.items():
        if key in quality:
            table.add_row(name, f"{100 * quality[key]:.1f}")
    return table
