"""The packages that audits need and training does not."""

from __future__ import annotations

from importlib.util import find_spec

from robustcmr.errors import UserError


def require_packages(*more: str) -> None:
    """Raise UserError unless pyarrow and duckdb are installed, and ``more`` packages of the same extra."""
    if any(find_spec(name) is None for name in ("pyarrow", "duckdb", *more)):
        named = ", ".join(("pyarrow", *(("duckdb",) if more else ()), *more[:-1]))
        last = more[-1] if more else "duckdb"
        raise UserError(f"this needs {named} and {last}; pip install 'robustcmr[audit]'")
