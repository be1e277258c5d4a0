"""A condition of SQL over the rows of a source, evaluated by DuckDB batch by batch.

DuckDB sees one batch at a time and nothing else: no file, no network, no extension that is not built in. A
condition judges each row by itself, so that the answer does not depend on where batches begin.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Collection, Iterator
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import ConfigError
from robustcmr.sources.names import listed, meant

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",  # a name in the condition is no variable of this program
    "threads": "1",
    "lock_configuration": "true",
}
_ACROSS = {
    "WINDOW": "a window function",
    "SUBQUERY": "a query within",
    "STAR": "*",
    "PARAMETER": "a parameter",
}
_CHANGING = {"random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "now", "nextval", "current_timestamp"}
_EXAMPLE = "such as --where 'width >= 256'"


class Condition:
    """A condition on the columns of a source.

    Attributes:
        names: columns that it needs, as the source spells them.
    """

    def __init__(self, sql: str, schema: pa.Schema, numbers: Collection[str] = ()) -> None:
        """Check the condition.

        Args:
            sql: expression such as ``width >= 256 AND nsfw = 'UNLIKELY'``; null counts as false.
            schema: of the source.
            numbers: columns of text whose values are seen as numbers, as in CSV.

        Raises:
            ConfigError: it is no expression that gives true or false for each row by itself.
        """
        self._sql = sql
        self._numbers = set(numbers)
        self._lock = threading.Lock()  # a connection answers one query at a time
        self._connection = duckdb.connect(":memory:", config=_SETTINGS)
        tree = self._parse()
        used = _check(sql, tree)
        self.names = tuple(name for name in schema.names if name.lower() in used)
        self._check_columns(schema)

    def _parse(self) -> dict[str, Any]:
        if not self._sql.strip():
            raise self._wrong("it is empty")
        query = f"SELECT ({self._sql}\n) FROM batch"
        try:
            tree = json.loads(self._one("SELECT json_serialize_sql(?)", [query]))
        except (duckdb.Error, ValueError, RecursionError) as error:
            raise self._wrong(_first_line(error)) from error
        if tree["error"]:
            raise self._wrong(f"{tree.get('error_type', 'parser')} error: {tree.get('error_message', '')}")
        statements = tree["statements"]
        node = statements[0]["node"] if len(statements) == 1 else {}
        if len(node.get("select_list", ())) != 1 or node.get("where_clause") is not None:
            raise self._wrong("it is no single expression")
        found: dict[str, Any] = node["select_list"][0]
        return found

    def _one(self, query: str, values: list[str]) -> str:
        return str(self._connection.execute(query, values).fetchall()[0][0])

    def _check_columns(self, schema: pa.Schema) -> None:
        """Evaluate over no rows, which shows unknown columns and types that do not fit."""
        empty = {name: pa.nulls(0, schema.field(name).type) for name in self.names}
        try:
            kinds, answers = self._run(empty, 0)
        except duckdb.Error as error:
            said = _first_line(error)
            quoted = said.split('"')
            near = meant(quoted[1], schema.names) if "not found" in said and len(quoted) > 1 else ""
            columns = f" (columns: {listed(schema.names)})" if "not found" in said else ""
            raise self._wrong(f"{said}{columns}{near}") from error
        if kinds != ["BOOLEAN"]:
            raise self._wrong(f"it gives {', '.join(kinds)}, expected true or false for each row")
        if len(answers):
            raise self._wrong("it gives one answer for all rows, expected one for each row")

    def mask(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Return which rows of a batch fulfil the condition: (rows,), false where it gives null.

        Raises:
            ConfigError: DuckDB cannot evaluate it, such as for a value that is no number.
        """
        try:
            with self._lock:
                _, values = self._run({name: batch.column(name) for name in self.names}, batch.num_rows)
        except duckdb.Error as error:
            raise self._wrong(_first_line(error)) from error
        if len(values) != batch.num_rows:
            raise self._wrong(f"it gives {len(values)} answers for {batch.num_rows} rows")
        found: npt.NDArray[np.bool_] = values.fill_null(False).to_numpy(zero_copy_only=False).astype(np.bool_)
        return found

    def _run(self, columns: dict[str, pa.Array], rows: int) -> tuple[list[str], pa.Array]:
        table = pa.table(columns or {"row": pa.nulls(rows)})
        self._connection.register("rows_of_batch", table)
        try:
            seen = ", ".join(self._column(name) for name in self.names)
            view = f"(SELECT {seen or 'row'} FROM rows_of_batch) AS batch"
            relation = self._connection.sql(f"SELECT ({self._sql}\n) AS answer FROM {view}")
            answers = relation.to_arrow_table().column(0).combine_chunks()
            return [str(kind) for kind in relation.types], answers
        finally:
            self._connection.unregister("rows_of_batch")

    def _column(self, name: str) -> str:
        quoted = '"' + name.replace('"', '""') + '"'
        return f"TRY_CAST({quoted} AS DOUBLE) AS {quoted}" if name in self._numbers else quoted

    def _wrong(self, why: str) -> ConfigError:
        return ConfigError(f"the condition {self._sql[:200]!r} cannot be used: {why}; write one {_EXAMPLE}")


def condition_on(sql: str, schema: pa.Schema, numbers: tuple[str, ...] = ()) -> Condition:
    """Return a condition, opened once for all shards of the same columns; see :class:`Condition`."""
    return _opened(sql, schema, numbers, os.getpid())  # a connection does not outlive a fork


@functools.lru_cache(8)
def _opened(sql: str, schema: pa.Schema, numbers: tuple[str, ...], process: int) -> Condition:
    del process
    return Condition(sql, schema, numbers)


def _check(sql: str, tree: dict[str, Any]) -> set[str]:
    """Refuse what does not judge each row by itself; return all names in it, in lower case."""
    used: set[str] = set()
    for part in _parts(tree):
        kind = part.get("class")
        if kind in _ACROSS:
            raise ConfigError(
                f"the condition {sql[:200]!r} has {_ACROSS[kind]}, expected one that judges each row by "
                f"itself, {_EXAMPLE}"
            )
        if kind == "FUNCTION" and part.get("function_name") in _CHANGING:
            raise ConfigError(
                f"the condition {sql[:200]!r} has {part['function_name']}(), whose answer changes from call "
                f"to call; expected one that depends on the row alone, {_EXAMPLE}"
            )
        if kind == "COLUMN_REF":
            used.update(str(name).lower() for name in part.get("column_names", ()))
    return used


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    todo = [tree]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            yield part
            todo.extend(part.values())
        elif isinstance(part, list):
            todo.extend(part)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
