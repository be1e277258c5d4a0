"""The sweeps shipped with the package, found by name."""

from __future__ import annotations

from pathlib import Path

from robustcmr.config.recipes import file_or_shipped, recipe_folder
from robustcmr.plugins import did_you_mean
from robustcmr.sweeps.errors import SweepError


def shipped_folder() -> Path:
    """Where the shipped sweeps lie, below the shipped recipes."""
    return recipe_folder() / "sweeps"


def sweep_names() -> list[str]:
    """Names of the shipped sweeps, sorted."""
    return sorted(path.stem for path in shipped_folder().glob("*.yaml"))


def sweep_path(given: str) -> Path:
    """The file of a sweep given as a path or as the name of a shipped one.

    Raises:
        SweepError: there is neither such a file nor such a sweep.
    """
    found = file_or_shipped(given, shipped_folder())
    if found is not None:
        return found
    path = Path(given)
    if path.is_dir():
        raise SweepError(
            f"{given} is a folder, expected a sweep file; go on with a sweep folder by "
            f"'robustcmr sweep resume {given}'"
        )
    names = sweep_names()
    raise SweepError(
        f"no sweep file {given} and no shipped sweep of that name{did_you_mean(path.stem, names)}"
        f" (shipped: {', '.join(names)})"
    )
