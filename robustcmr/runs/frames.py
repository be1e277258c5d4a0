"""Columns as a pandas or Arrow table, where these packages are installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from robustcmr.errors import UserError


def to_pandas(columns: Mapping[str, Any]) -> Any:
    """Return columns by name as a ``pandas.DataFrame``; raise UserError without pandas."""
    return _package("pandas").DataFrame(dict(columns))


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows with the same keys as columns; none without rows."""
    return {key: [row[key] for row in rows] for key in (rows[0] if rows else ())}


def to_arrow(columns: Mapping[str, Any]) -> Any:
    """Return columns by name as a ``pyarrow.Table``; raise UserError without pyarrow."""
    return _package("pyarrow").table(dict(columns))


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"this needs the package {name}, which is not installed; pip install {name}"
        ) from error
