"""The base of every typed options class: of matchers, methods, data sets and the run configuration."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Options(BaseModel):
    """Typed, frozen options; unknown keys are refused and every field is described in the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="after")
    @classmethod
    def _absolute(cls, value: Any) -> Any:
        # a saved configuration must mean the same files from any folder
        if not isinstance(value, Path):
            return value
        try:
            path = value.expanduser().absolute()
        except RuntimeError as error:
            raise ValueError(f"no home folder is known for '{value}', expected a path without ~") from error
        try:
            path.stat()
        except ValueError as error:  # NUL, or half of a surrogate pair
            raise ValueError(f"no file can have the name {ascii(str(value))[:80]}") from error
        except OSError as error:  # whether the file must exist is checked where it is used
            if error.errno == errno.ENAMETOOLONG:
                raise ValueError(f"no file can have a name as long as {str(value)[:40]}…") from error
        return path
