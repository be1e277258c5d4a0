"""The base of every typed options class: of matchers, methods, data sets and of the run configuration itself."""

from __future__ import annotations

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
        return value.expanduser().absolute() if isinstance(value, Path) else value
