"""Lists of ids: lines that can be read back, and the arrays that DataComp reads."""

from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.decide import NAMES
from robustcmr.audit.lists import ListWriter, write_uids


def write(folder, ids, decision):
    with ExitStack() as stack:
        writer = ListWriter(folder, stack)
        for part in np.array_split(np.arange(len(ids)), 3):
            writer.add(pa.array([ids[n] for n in part], pa.string()), decision[part])
    return writer


def test_an_id_a_line(tmp_path):
    ids = ["a", "b\nc", "d\\n", "é ü", "f\rg", "h"]
    writer = write(tmp_path, ids, np.array([0, 0, 0, 0, 1, 2], np.uint8))
    assert not writer.uids
    lines = (tmp_path / "keep.txt").read_bytes().decode().split("\n")
    assert lines == ["a", r"b\nc", r"d\\n", "é ü", ""]
    assert (tmp_path / "drop.txt").read_text() == "f\\rg\n"
    assert (tmp_path / "aside.txt").read_text() == ""


def test_uids_as_datacomp_reads_them(tmp_path):
    """By the code in DataComp's documentation: halves of the uid as two u8, sorted."""
    rng = np.random.default_rng(0)
    uids = [rng.bytes(16).hex() for _ in range(50)]
    decision = rng.integers(0, 3, 50).astype(np.uint8)
    assert write(tmp_path, uids, decision).uids
    table = pa.table({"id": uids, "decision": [NAMES[code] for code in decision]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    counts = {name: int((decision == code).sum()) for code, name in enumerate(NAMES)}
    write_uids(tmp_path / "pairs.parquet", tmp_path, counts, tmp_path / "spill", 2**27)
    for code, name in enumerate(NAMES):
        mine = [uid for uid, its in zip(uids, decision, strict=True) if its == code]
        expected = np.array([(int(uid[:16], 16), int(uid[16:32], 16)) for uid in mine], np.dtype("u8,u8"))
        expected.sort()
        found = np.load(tmp_path / f"{name}.npy")
        assert found.dtype == np.dtype("u8,u8")
        np.testing.assert_array_equal(found, expected)
