"""Conditions: against DuckDB on the whole table, and kept away from files and the network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from robustcmr.errors import ConfigError
from robustcmr.sources import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.where import Condition, condition_on

ROWS = 1000


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "url": [f"https://x/{row}.jpg" for row in range(ROWS)],
            "caption": [None if row % 11 == 0 else f"Caption {row}" for row in range(ROWS)],
            "width": pa.array(rng.integers(0, 900, ROWS), mask=rng.random(ROWS) < 0.1),
            "Height": rng.integers(0, 900, ROWS),
            "meta": [{"score": float(score), "tags": ["a", "b"]} for score in rng.random(ROWS)],
            "odd name": rng.random(ROWS),
            "kind": pa.array(rng.choice(["photo", "drawing"], ROWS)).dictionary_encode(),
        }
    )


@pytest.mark.parametrize(
    "condition",
    [
        "width >= 256",
        "width >= 256 AND height < 300",
        "caption ILIKE 'caption 1%' OR caption IS NULL",
        "meta.score > 0.5",
        "meta['score'] > 0.5 and list_contains(meta.tags, 'a')",
        '"odd name" between 0.2 and 0.4',
        "kind = 'photo'",
        "regexp_matches(url, '[02468]\\.jpg$')",
        "width / nullif(height, 0) between 0.5 and 2  -- sides",
        "batch.width > 100",
        "length(caption) > 9 and not contains(url, '7')",
        "true",
        "null::boolean",
        "list_sum(list_transform([1, 2], lambda x: x * width)) > 900",
        "CASE WHEN kind = 'photo' THEN width > 100 ELSE width > 500 END",
    ],
)
def test_rows_are_those_that_duckdb_finds_in_the_whole_table(condition: str) -> None:
    whole = table()
    found = Condition(condition, whole.schema)
    parts = [found.mask(batch) for batch in whole.to_batches(max_chunksize=64)]
    with duckdb.connect() as connection:
        connection.register("batch", whole.append_column("row", pa.array(range(ROWS))))
        expected = connection.sql(f"SELECT row FROM batch WHERE ({condition}\n) ORDER BY row").fetchall()
    assert np.flatnonzero(np.concatenate(parts)).tolist() == [row for (row,) in expected]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("", "it is empty"),
        ("width >", "syntax error"),
        ("width > 1; DROP TABLE batch", "syntax error"),
        ("widht > 1", "did you mean 'width'?"),
        ("width", "it gives BIGINT, expected true or false for each row"),
        ("'yes'", "it gives VARCHAR, expected true or false"),
        ("count(*) > 1", "it gives one answer for all rows"),
        ("width > avg(width) OVER ()", "has a window function"),
        ("width > (SELECT max(width) FROM batch)", "has a query within"),
        ("exists (FROM read_csv('/etc/passwd'))", "has a query within"),
        ("random() > 0.5", "has random(), whose answer changes"),
        ("width = ?", "has a parameter"),
        ("width > 1, true", "it gives TUPLE(BOOLEAN, BOOLEAN), expected true or false"),
        ("true) FROM batch WHERE (width > 1", "syntax error"),
        ("true) FROM batch UNION ALL SELECT (true", "it is no single expression"),
        ("width > caption", "Cannot compare values of type BIGINT and type VARCHAR"),
        ("caption::INT > 1", "Conversion Error"),
        ("nosuchfunction(width)", "nosuchfunction does not exist"),
        ("(" * 2000 + "true" + ")" * 2000, "cannot be used"),
    ],
)
def test_what_is_no_condition_on_a_row_is_refused(condition: str, said: str) -> None:
    whole = table()
    with pytest.raises(ConfigError) as caught:
        Condition(condition, whole.schema).mask(whole.to_batches()[0])
    assert said in str(caught.value)
    assert "--where" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 1 + condition.count("\n")


@pytest.mark.parametrize(
    "condition",
    [
        "read_text('/etc/passwd') is not null",
        "getenv('HOME') = 'x'",
        "content_of('/etc/passwd')",
        "length((SELECT content FROM read_text('/etc/passwd'))) > 0",
        "url IN (FROM 'secret.parquet')",
        "st_point(1, 2) is not null",  # of an extension that could be fetched
        "table is null",  # a variable of this module
    ],
)
def test_a_condition_reaches_nothing_but_the_rows(condition: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Condition(condition, table().schema).mask(table().to_batches()[0])


def test_settings_cannot_be_unlocked() -> None:
    condition = Condition("width > 1", table().schema)
    connection = condition._connection
    for setting in ("enable_external_access", "autoinstall_known_extensions", "autoload_known_extensions"):
        row = connection.execute("SELECT current_setting(?)", [setting]).fetchone()
        assert row is not None
        assert row[0] in (False, "false")
        with pytest.raises(duckdb.Error):
            connection.execute(f"SET {setting}=true")
    for statement in (
        "INSTALL httpfs",
        "LOAD httpfs",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "ATTACH '/tmp/x.db'",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)


def test_a_condition_is_checked_before_rows_are_read(tmp_path: Path) -> None:
    parquet.write_table(table(), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    with pytest.raises(ConfigError):  # at the call, not at the first batch
        pairs(source, source.shards[0], where="widht > 1")


def test_columns_of_types_that_duckdb_does_not_know_do_not_matter() -> None:
    whole = pa.table({"width": [1, 2, 3], "half": pa.array(np.ones(3, np.float16))})
    assert Condition("width > 1", whole.schema).mask(whole.to_batches()[0]).tolist() == [False, True, True]


def test_a_condition_is_opened_once_for_equal_columns() -> None:
    schema = table().schema
    first = condition_on("width > 1", schema)
    assert condition_on("width > 1", table().schema) is first
    assert condition_on("width > 1", schema.append(pa.field("more", pa.int8()))) is not first
    assert condition_on("width > 1", schema, ("width",)) is not first
    batch = table().to_batches()[0]
    with ThreadPoolExecutor(4) as pool:
        masks = list(pool.map(lambda _: first.mask(batch).tolist(), range(20)))
    assert masks == [first.mask(batch).tolist()] * 20
