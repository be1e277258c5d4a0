"""What a sweep file can say."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from robustcmr.config.problems import sentences
from robustcmr.config.recipes import recipe_path
from robustcmr.config.resolve import read_config
from robustcmr.errors import ConfigError
from robustcmr.options import Options
from robustcmr.sweeps.errors import SweepError, listed
from robustcmr.sweeps.shipped import sweep_path


class ExecutionOptions(Options):
    """How the trials share the machine; the command line wins over it."""

    executor: Literal["local", "ray"] = Field("local", description="processes of this machine, or Ray")
    jobs: int | None = Field(
        None, ge=1, description="trials at a time; null: one, or with GPUs one a GPU, or as Ray has room for"
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="threads a trial; null: OMP_NUM_THREADS where set, else its share of the cores",
    )
    address: str | None = Field(
        None, description="a Ray cluster's address; null starts one here while the sweep runs (ray)"
    )


class SweepOptions(Options):
    """A grid of runs.

    The base is one run; each trial changes it by one choice of every list in the grid, once a seed.
    """

    name: str = Field(description="what the sweep folder is called")
    base: str | dict[str, Any] = Field(
        default_factory=dict, description="what every trial starts from: a recipe, or its sections"
    )
    grid: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="values to try by dotted key; or choices that set several keys, each with a label",
    )
    exclude: list[dict[str, Any]] = Field(
        default_factory=list,
        description="choices that are not tried together, a mapping of the grid's keys each",
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


def read_sweep(given: str) -> SweepOptions:
    """Read a sweep file, its base included, so that nothing but the result is needed to run it.

    Args:
        given: a path, or the name of a shipped sweep.

    Returns:
        The options; ``base`` holds sections even where the file names a recipe.

    Raises:
        SweepError: the file is missing, or what it says is not a sweep; all problems are listed.
    """
    path = sweep_path(given)
    try:
        tree = read_config(path)
    except ConfigError as error:
        raise SweepError(str(error)) from error
    tree.setdefault("name", path.stem)
    options = sweep_options(tree, f"the sweep {path}")
    if isinstance(options.base, str):
        beside = path.parent / options.base
        try:
            base = read_config(beside if beside.is_file() else recipe_path(options.base))
        except ConfigError as error:
            raise SweepError(f"the sweep {path}: base: {error}") from error
        return options.model_copy(update={"base": base})
    return options


def sweep_options(tree: dict[str, Any], where: str) -> SweepOptions:
    """Validate what a sweep file holds.

    Args:
        tree: the file's keys.
        where: how messages call it.

    Raises:
        SweepError: unknown keys or bad values; all are listed.
    """
    given = {key: value for key, value in tree.items() if value is not None}  # a key may be left empty
    try:
        return SweepOptions.model_validate(given)
    except ValidationError as error:
        raise listed(sentences(SweepOptions, error, "", ()), where) from error
