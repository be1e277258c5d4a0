"""The packages that audits need and training does not."""

from __future__ import annotations

from importlib.util import find_spec

from robustcmr.errors import UserError


def require_packages() -> None:
    """Raise UserError unless pyarrow and duckdb are installed."""
    if any(find_spec(name) is None for name in ("pyarrow", "duckdb")):
        raise UserError("this needs pyarrow and duckdb; pip install 'robustcmr[audit]'")
