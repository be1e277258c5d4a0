"""Lists of ids by decision: a text file each, and DataComp's arrays where the ids are its uids."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.audit.database import database, parquet, quoted, stream
from robustcmr.audit.decide import NAMES, Codes
from robustcmr.files import atomic_file

_UID = "^[0-9a-f]{32}$"


class ListWriter:
    r"""Writes ``keep.txt``, ``drop.txt``, ``review.txt`` and ``aside.txt``, an id a line.

    A line feed within an id is written as ``\n``, a backslash as two.

    Args:
        folder: of the lists.
        stack: on whose close the files appear.

    Attributes:
        uids: whether every id so far is 32 hexadecimal digits.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._files: list[BinaryIO] = [
            stack.enter_context(atomic_file(folder / f"{name}.txt")) for name in NAMES
        ]
        self.uids = True

    def add(self, ids: pa.Array, decision: Codes) -> None:
        """Write the ids of pairs (n,)."""
        self.uids = self.uids and bool(pc.all(pc.match_substring_regex(ids, _UID), min_count=0).as_py())
        if pc.any(pc.match_substring_regex(ids, r"[\\\r\n]"), min_count=0).as_py():
            for found, written in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r")):
                ids = pc.replace_substring(ids, found, written)
        for code, file in enumerate(self._files):
            chosen = ids.filter(pa.array(decision == code))
            if len(chosen):
                lines = pc.binary_join(pa.ListArray.from_arrays([0, len(chosen)], chosen), "\n")
                file.write(lines[0].as_buffer().to_pybytes() + b"\n")


def write_uids(pairs: Path, folder: Path, counts: dict[str, int], spill: Path, memory: int) -> None:
    """Write each list as DataComp's resharder takes it: ``.npy`` of the uids' halves, ``u8,u8``, ascending.

    Args:
        pairs: parquet file with columns id, 32 hexadecimal digits each, and decision.
        folder: of the lists.
        counts: pairs by decision.
        spill: folder for what does not fit in memory.
        memory: bytes that the sort may take.
    """
    for name in NAMES:
        with (
            database(spill, memory) as connection,
            atomic_file(folder / f"{name}.npy") as file,
        ):
            halves = np.dtype("<u8,<u8")
            header = {
                "descr": np.lib.format.dtype_to_descr(halves),
                "fortran_order": False,
                "shape": (counts.get(name, 0),),
            }
            np.lib.format.write_array_header_1_0(file, header)
            query = (
                "SELECT ('0x' || substr(id, 1, 16))::UBIGINT AS f0, ('0x' || substr(id, 17))::UBIGINT AS f1 "
                f"FROM {parquet([pairs])} WHERE decision = {quoted(name)} ORDER BY id"
            )
            for batch in stream(connection, query):
                rows = np.empty(len(batch), halves)
                for half in ("f0", "f1"):
                    rows[half] = batch[half].to_numpy()
                file.write(rows.tobytes())
