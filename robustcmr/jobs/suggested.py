"""Read the suggestions of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from robustcmr.errors import DataError
from robustcmr.runs.audits import AuditFolder

_BESIDE = """
SELECT s.id, s.kind, s.suggested, s.probability, p.image, p.file, p.row
FROM read_parquet(?) AS s JOIN read_parquet(?) AS p ON p.id = s.partner
WHERE s.id IN (SELECT unnest(?)) AND p.decision <> 'aside' ORDER BY s.id, s.kind DESC
"""

_CAPTIONS = (
    "SELECT id, suggested, probability FROM read_parquet(?) WHERE kind = 'caption' AND probability >= ?"
)


def suggestions_of(folder: AuditFolder, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the suggestions of pairs by id: kind, suggested, probability, and the place of the image.

    Raises:
        DataError: a file is damaged.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    if folder.suggestions.is_file():
        names = ("kind", "suggested", "probability", "image", "file", "row")
        for key, *values in _rows(folder, _BESIDE, [str(folder.suggestions), str(folder.pairs), list(ids)]):
            found.setdefault(key, []).append(dict(zip(names, values, strict=True)))
    return found


def sure_captions(folder: AuditFolder, least: float) -> dict[str, tuple[str, float]]:
    """Return better captions of at least some probability, and that probability, by the id of the pair.

    Raises:
        DataError: no partners were sought, or the file is damaged.
    """
    if not folder.suggestions.is_file():
        raise DataError(
            f"{folder.path} has no suggestions to repair by; seek them first: robustcmr suggest {folder.path}"
        )
    rows = _rows(folder, _CAPTIONS, [str(folder.suggestions), least])
    return {key: (caption, probability) for key, caption, probability in rows}


def _rows(folder: AuditFolder, query: str, values: list[Any]) -> list[tuple[Any, ...]]:
    try:
        with duckdb.connect() as connection:
            return connection.execute(query, values).fetchall()
    except duckdb.Error as error:
        why = str(error).splitlines()[0]
        raise DataError(
            f"cannot read {folder.suggestions}: {why}; seek partners again: robustcmr suggest {folder.path}"
        ) from error
