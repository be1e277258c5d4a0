"""The base of every typed options class: of matchers, methods, data sets and of the run configuration itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Typed, frozen options; unknown keys are refused and every field is described in the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)
