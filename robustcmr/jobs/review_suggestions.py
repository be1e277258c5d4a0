"""Better partners of pairs, from ``suggestions.parquet`` of an audit where there is one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import duckdb

from robustcmr.errors import DataError
from robustcmr.review.items import Suggestion, place_of
from robustcmr.runs.audits import AuditFolder

FILE = "suggestions.parquet"
"""Columns ``id`` of the pair, ``kind`` (``image`` or ``caption``), ``partner``, the id of the pair whose
image or caption may fit better, and ``probability`` that it fits."""

MOST = 3
"""Suggestions of a kind that are shown beside a pair, the likeliest first."""

_QUERY = """
SELECT s.id, s.kind, s.probability, p.image, p.caption, p.file, p.row
FROM read_parquet(?) AS s JOIN read_parquet(?) AS p ON p.id = s.partner
WHERE s.id IN (SELECT unnest(?)) AND p.decision <> 'aside'
ORDER BY s.id, s.kind DESC, s.probability DESC, s.partner
"""


def read_suggestions(folder: AuditFolder, ids: Sequence[str]) -> dict[str, tuple[Suggestion, ...]]:
    """Return suggestions by the id of the pair; none where the audit has no such file.

    Raises:
        DataError: the file is damaged, or lacks a column.
    """
    path = folder.path / FILE
    if not path.is_file():
        return {}
    try:
        with duckdb.connect() as connection:
            rows = connection.execute(_QUERY, [str(path), str(folder.pairs), list(ids)]).fetchall()
    except duckdb.Error as error:
        why = str(error).splitlines()[0]
        raise DataError(f"cannot read {path}: {why}; remove it to review without suggestions") from error
    found: dict[str, list[Suggestion]] = defaultdict(list)
    for key, kind, probability, image, caption, file, row in rows:
        if sum(one.kind == kind for one in found[key]) >= MOST:
            continue
        if kind == "caption":
            found[key].append(Suggestion(kind, caption or "", None, probability))
        elif kind == "image":
            found[key].append(Suggestion(kind, image or "", place_of(image, file, row), probability))
    return {key: tuple(several) for key, several in found.items()}
