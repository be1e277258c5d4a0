"""The pairs of an audit as a table."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from robustcmr.errors import UserError
from robustcmr.jobs.audit_table import AuditTable


@pytest.fixture
def table(audited_pictures):
    return AuditTable(audited_pictures / "pairs.parquet")


def test_pairs_are_a_table_of_arrays(table, audited_pictures):
    written = pq.read_table(audited_pictures / "pairs.parquet")
    assert len(table) == 100
    assert list(table) == written.column_names
    np.testing.assert_array_equal(table.id, written["id"].to_pylist())
    np.testing.assert_array_equal(table["row"], np.arange(100))
    expected = np.array(written["p_mismatch"].to_pylist(), float)  # None is NaN
    np.testing.assert_array_equal(table.p_mismatch, expected)
    assert table.to_arrow().equals(written)
    assert table.to_arrow(["id"]).column_names == ["id"]


def test_a_column_that_is_not_there(table):
    with pytest.raises(UserError, match=r"no column 'p_mismach'; did you mean 'p_mismatch'\?"):
        table["p_mismach"]
    assert not hasattr(table, "other")


def test_pandas(table):
    pandas = pytest.importorskip("pandas")
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 100
    assert frame["decision"].value_counts()["drop"] == 20


def test_a_damaged_file(tmp_path):
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1 nothing")
    for name in ("pairs.parquet", "gone.parquet"):
        with pytest.raises(UserError, match=f"cannot read .*{name}"):
            AuditTable(tmp_path / name)
