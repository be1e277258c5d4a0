"""The options of a sweep file, and the sweeps shipped with the package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from robustcmr.config import trust
from robustcmr.config.problems import sentences
from robustcmr.config.recipes import file_or_shipped, recipe_folder, recipe_path
from robustcmr.config.resolve import read_config
from robustcmr.errors import ConfigError, SweepError
from robustcmr.options import Options
from robustcmr.plugins import did_you_mean


class ExecutionOptions(Options):
    """How trials share the machine; the command line overrides these."""

    executor: Literal["local", "ray"] = Field(
        "local", description="local: processes on this machine; ray: a Ray cluster"
    )
    jobs: int | None = Field(
        None, ge=1, description="parallel trials; null: one, or one per GPU, or as many as Ray has room for"
    )
    threads: int | None = Field(
        None, ge=1, description="threads per trial; null: OMP_NUM_THREADS if set, else an even share of cores"
    )
    address: str | None = Field(
        None, description="address of a Ray cluster; null starts one here for the sweep (ray only)"
    )


class SweepOptions(Options):
    """A grid of runs.

    Every trial is the base, changed by one choice from each list of the grid, once per seed.
    """

    name: str = Field(description="name of the sweep folder")
    base: str | dict[str, Any] = Field(
        default_factory=dict, description="starting point of every trial: a recipe, or its sections"
    )
    grid: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="values to try by dotted key; or choices that set several keys, each with a label",
    )
    exclude: list[dict[str, Any]] = Field(
        default_factory=list, description="combinations to leave out, as mappings of the grid's keys"
    )
    seeds: list[int] = Field(default_factory=lambda: [0], description="seeds of every combination")
    execution: ExecutionOptions = ExecutionOptions()

    @field_validator("name")
    @classmethod
    def _folder_name(cls, value: str) -> str:
        if not re.fullmatch(r"[\w][\w.\-]*", value):
            raise ValueError(f"got '{value}', expected letters, digits, '_', '-' and '.', as a folder's name")
        return value

    @field_validator("seeds")
    @classmethod
    def _in_range(cls, value: list[int]) -> list[int]:
        if not all(0 <= seed < 2**32 for seed in value):
            raise ValueError(f"got {value}, expected whole numbers in [0, {2**32})")
        return value


def sweep_names() -> list[str]:
    """Return the names of the shipped sweeps, sorted."""
    return sorted(path.stem for path in (recipe_folder() / "sweeps").glob("*.yaml"))


def sweep_path(given: str) -> Path:
    """Return the file of a sweep given as a path or a shipped name; raise SweepError if there is none."""
    found = file_or_shipped(given, recipe_folder() / "sweeps")
    if found is not None:
        return found
    if Path(given).is_dir():
        raise SweepError(
            f"{given} is a folder, expected a sweep file; resume a sweep folder with "
            f"'robustcmr sweep resume {given}'"
        )
    names = sweep_names()
    raise SweepError(
        f"no sweep file {given} and no shipped sweep of that name{did_you_mean(Path(given).stem, names)}"
        f" (shipped: {', '.join(names)})"
    )


def read_sweep(given: str) -> SweepOptions:
    """Read a sweep, given as a path or a shipped name, with the sections of its base.

    Raises:
        UserError: the file is missing or not a sweep; all problems are listed.
    """
    path = sweep_path(given)
    tree = read_config(path)
    tree.setdefault("name", path.stem)
    options = sweep_options(tree, f"the sweep {path}")
    if not isinstance(options.base, str):
        return options
    beside = path.parent / options.base
    try:
        base = read_config(beside if beside.is_file() else recipe_path(options.base))
    except ConfigError as error:
        raise SweepError(f"the sweep {path}: base: {error}") from error
    return options.model_copy(update={"base": base})


def sweep_options(tree: dict[str, Any], where: str) -> SweepOptions:
    """Validate the keys of a sweep file, named ``where`` in messages; raise SweepError with all problems."""
    given = {key: value for key, value in tree.items() if value is not None}  # a key may be left empty
    try:
        return SweepOptions.model_validate(given)
    except ValidationError as error:
        raise listed(sentences(SweepOptions, error, "", ()), where) from error


def consent_to_cluster(path: Path, execution: ExecutionOptions, trusted: bool) -> None:
    """Raise TrustError if a sweep file made elsewhere names a Ray cluster; its answers can run code here."""
    named = {} if execution.address is None else {"execution.address": execution.address}
    trust.consent(path, read_config(path), named, trusted, "a Ray cluster to join")


def listed(problems: Sequence[str], where: str) -> SweepError:
    """Return all problems, at least one, as one error; ``where`` names their source."""
    if len(problems) == 1:
        return SweepError(f"{where}: {problems[0]}")
    return SweepError("\n  ".join([f"{len(problems)} problems in {where}:", *problems]))
