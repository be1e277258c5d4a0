"""The folder of an audit as data to train on: its source, and what it judged of each pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustcmr.errors import DataError
from robustcmr.files import reason
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.fingerprint import changed
from robustcmr.sources.guess import open_source
from robustcmr.sources.records import Source
from robustcmr.types import FloatArray, IntArray


@dataclass(frozen=True)
class Judged:
    """What an audit says of each of its n pairs, in its order.

    Attributes:
        clean_probability: (n,) float32 in 0..1; that of the average pair where a pair was not judged.
        dropped: (n,) bool, the drop list.
    """

    clean_probability: FloatArray
    dropped: npt.NDArray[np.bool_]

    def some(self, pairs: IntArray) -> Judged:
        """Return what it says of some pairs (k,)."""
        return Judged(self.clean_probability[pairs], self.dropped[pairs])


def is_audit(path: Path) -> bool:
    """Return whether a folder holds a finished audit, or one that has not finished."""
    folder = AuditFolder(path)
    return folder.holds_audit or (path.is_dir() and (folder.work / "plan.json").is_file())


def audit_settings(path: Path) -> Mapping[str, Any]:
    """Return the settings of a finished audit that say which pairs and vectors it judged.

    Raises:
        DataError: the audit has not finished, or ``audit.json`` is damaged.
    """
    folder = AuditFolder(path)
    folder.require()
    about = folder.read_about()
    return {**about["settings"], "format": about["source"].get("format")}


def reopened(folder: AuditFolder) -> Source:
    """Open the source of an audit, with the format and the columns it was audited with.

    Raises:
        DataError: it is gone or has changed since, or ``audit.json`` is damaged.
    """
    about = folder.read_about()
    settings = about["settings"]
    source = open_source(
        settings["sources"],
        format=about["source"].get("format"),
        image=settings.get("image"),
        text=settings.get("text"),
        id=settings.get("id"),
    )
    if (how := changed(source, about["fingerprint"])) is not None:
        raise DataError(f"the source has changed since the audit: {how}; audit it again")
    return source


def read_judged(path: Path, ids: pa.ChunkedArray) -> Judged:
    """Read what an audit says of pairs.

    Args:
        path: folder of the audit.
        ids: (n,) of the pairs, in the order of the source, to make sure that the rows are theirs.

    Raises:
        DataError: ``pairs.parquet`` is missing or damaged, or lists other pairs.
    """
    file = AuditFolder(path).pairs
    try:
        table = pq.read_table(file, columns=["id", "p_mismatch", "decision"])
    except OSError as error:
        raise DataError(f"cannot read {file}: {reason(error)}; audit the pairs again") from error
    except (pa.ArrowException, KeyError) as error:
        why = str(error).splitlines()[0]
        raise DataError(f"cannot read {file}: {why}; audit the pairs again") from error
    same = len(table) == len(ids) and table["id"].cast(pa.large_string()).equals(ids.cast(pa.large_string()))
    if not same:
        raise DataError(
            f"{file} lists {len(table):,} pairs, which are not the {len(ids):,} of its source; audit the "
            "pairs again"
        )
    wrong = np.asarray(table["p_mismatch"].cast(pa.float32()).to_numpy())
    judged = np.isfinite(wrong)
    average = float(wrong[judged].mean()) if judged.any() else 0.0
    clean = np.clip(1.0 - np.where(judged, wrong, average), 0.0, 1.0).astype(np.float32)
    dropped = pc.equal(table["decision"].cast(pa.string()), "drop").fill_null(False)
    return Judged(clean, np.asarray(dropped.to_numpy()))
