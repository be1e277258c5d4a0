"""``robustcmr rematch``: an image of the whole training set for every pair that a finished run suspects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli.options import AsJson, Device, Trust, note, number, output, say


def rematch(
    run: Annotated[Path, typer.Argument(help="Run folder of a method that divides pairs.")],
    top_k: Annotated[int, typer.Option(min=1, help="Candidate images per caption.")] = 50,
    plan: Annotated[
        str,
        typer.Option(
            help="sparse: over the candidates. dense: over all images; needs a matcher with one vector per "
            "side and an NVIDIA GPU."
        ),
    ] = "sparse",
    mass: Annotated[
        float | None,
        typer.Option(
            help="Share of the suspected captions' mass to move, up to 1 (sparse; 0.5 by default).",
            parser=number("--mass"),
            metavar="FLOAT",
        ),
    ] = None,
    reach: Annotated[
        float | None,
        typer.Option(
            help="Price of unmatched mass, as a distance in units of the score; the moved mass follows from "
            "it (dense; 0.5 by default).",
            parser=number("--reach"),
            metavar="FLOAT",
        ),
    ] = None,
    epsilon: Annotated[
        float,
        typer.Option(
            help="Entropic smoothing of the plan, in units of the score.",
            parser=number("--epsilon"),
            metavar="FLOAT",
        ),
    ] = 0.01,
    capacity: Annotated[
        float | None,
        typer.Option(
            help="Captions per image; by default an even share, but at least one.",
            parser=number("--capacity"),
            metavar="FLOAT",
        ),
    ] = None,
    search: Annotated[
        str,
        typer.Option(
            help="auto, all or shortlist: images that a matcher without one vector per side scores itself."
        ),
    ] = "auto",
    shortlist: Annotated[int, typer.Option(min=1, help="Images per caption on the shortlist.")] = 500,
    half: Annotated[bool, typer.Option("--half", help="Search vectors in bfloat16.")] = False,
    target: Annotated[Path | None, output("CSV file to write; RUN/rematches.csv by default.")] = None,
    device: Device = None,
    trusted: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Suggest an image for every suspected pair, by one partial transport plan over the training set.

    Examples:
      robustcmr rematch runs/a
      robustcmr rematch runs/a --mass 0.3 --top-k 100 -o matches.csv
      robustcmr rematch runs/clip --plan dense --reach 0.4
    """
    from robustcmr.cli.output import print_json, running
    from robustcmr.jobs.rematch import RematchOptions, rematch_run
    from robustcmr.reporting.rematch_tables import outcome_table, quality_table
    from robustcmr.terminal import Console

    _check(plan, mass, reach, epsilon, capacity, search)
    mass = 0.5 if mass is None else mass
    if plan == "dense" and reach is None:
        reach = 0.5
    options = RematchOptions(top_k, mass, reach, epsilon, capacity, search, shortlist, half)  # type: ignore[arg-type]
    with running():
        outcome = rematch_run(run, options, target, device, trusted)
    if as_json:
        print_json({"run": str(run), **outcome})
        return
    if outcome["suspected"] == 0:
        say(f"none of {outcome['pairs']:,} pairs is suspected; wrote {outcome['output']}")
        return
    console = Console()
    console.print(outcome_table(outcome))
    if "quality" in outcome:
        console.print(quality_table(outcome["quality"]))
    if not outcome["converged"]:
        lower = "--mass" if reach is None else "--reach"
        note(f"the plan did not converge; raise --epsilon or lower {lower}")
    say(f"wrote {outcome['output']}")


def _check(
    plan: str, mass: float | None, reach: float | None, epsilon: float, capacity: float | None, search: str
) -> None:
    from noise_injection.checks import percent_meant
    from robustcmr.errors import ConfigError

    if plan not in ("sparse", "dense"):
        raise ConfigError(f"--plan is '{plan}', expected sparse or dense")
    if plan == "sparse" and reach is not None:
        raise ConfigError("--reach does not go with a sparse plan; use --mass, or add --plan dense")
    if plan == "dense" and mass is not None:
        raise ConfigError("--mass does not go with a dense plan; use --reach, or leave --plan dense out")
    if mass is not None and not 0 < mass <= 1:
        hint = percent_meant(mass)
        raise ConfigError(f"--mass is {mass:g}, expected more than 0 and at most 1{hint}")
    for name, value in {"--reach": reach, "--epsilon": epsilon, "--capacity": capacity}.items():
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{name} is {value:g}, expected a positive number, such as 0.5")
    if search not in ("auto", "all", "shortlist"):
        raise ConfigError(f"--search is '{search}', expected auto, all or shortlist")
