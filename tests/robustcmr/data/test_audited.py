"""An audit as data: its source with the same pairs, and what it judged of each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.data.audited import read_judged
from robustcmr.data.source import SourcePairs
from robustcmr.errors import DataError
from robustcmr.sources.fingerprint import fingerprint
from robustcmr.sources.guess import open_source

N = 40
UNJUDGED = [7, 12, 21, 30]


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """The folder of an audit, as its writer leaves it: pair i is wrong with probability i / N."""
    ids = [f"k{i}" for i in range(N)]
    images, captions = [f"{i // 2}.jpg" for i in range(N)], [f"the {i}" for i in range(N)]
    table = {"id": ids, "image": images, "caption": captions}
    pq.write_table(pa.table(table), tmp_path / "web.parquet")
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(N, 4)))
    folder = tmp_path / "audit"
    folder.mkdir()
    wrong = np.arange(N) / N
    judged = {
        "id": ids,
        "p_mismatch": pa.array(wrong.astype("f4"), mask=np.isin(np.arange(N), UNJUDGED)),
        "decision": pa.array(["drop" if p > 0.5 else "keep" for p in wrong]).dictionary_encode(),
    }
    pq.write_table(pa.table(judged), folder / "pairs.parquet")
    settings = {"sources": [str(tmp_path / "web.parquet")], "where": None}
    settings |= {f"{side}_vectors": str(tmp_path / "v.npy") for side in ("image", "text")}
    about = {
        **{"robustcmr_version": "0", "command": "robustcmr audit"},
        **{"source": {"format": "parquet"}, "settings": settings},
        "fingerprint": fingerprint(open_source(tmp_path / "web.parquet")),
    }
    (folder / "audit.json").write_text(json.dumps(about))
    return folder


def opened(folder: Path, **options: object) -> SourcePairs:
    given = {"root": str(folder), "dev": 0.2, "test": 0.1, **options}
    return SourcePairs(SourcePairs.Config.model_validate(given))


def test_probabilities_follow_their_pairs(audit: Path) -> None:
    split = opened(audit, audit="weights").split("train")
    rows = np.array([int(key[1:]) for key in split.pair_ids])
    expected = 1 - rows / N
    unknown = np.isin(rows, UNJUDGED)
    assert unknown.any()
    expected[unknown] = 1 - np.delete(np.arange(N) / N, UNJUDGED).mean()  # as the average pair
    assert np.allclose(split.clean_probability, expected, atol=1e-6)
    assert opened(audit, audit="weights").split("dev").clean_probability is None
    assert opened(audit).split("train").clean_probability is None


def test_the_drop_list_is_left_out_of_training_alone(audit: Path) -> None:
    whole, dropped = opened(audit), opened(audit, audit="drop")
    assert list(dropped.split("train").pair_ids) == [
        key for key in whole.split("train").pair_ids if int(key[1:]) / N <= 0.5
    ]
    for name in ("dev", "test"):
        assert list(dropped.split(name).pair_ids) == list(whole.split(name).pair_ids)
    assert len(np.unique(dropped.split("train").image_of_caption)) == dropped.split("train").n_images


def test_vectors_are_those_of_the_audit_or_those_given(audit: Path) -> None:
    assert opened(audit).matcher()[0] == "embeddings"
    assert opened(audit).split("train").features.shape[2] == 4
    np.save(audit.parent / "wide.npy", np.ones((N, 9)))
    other = opened(audit, image_vectors=str(audit.parent / "wide.npy"))
    assert other.split("train").features.shape[2] == 9


def test_an_audit_that_does_not_fit_is_refused(audit: Path) -> None:
    with pytest.raises(DataError, match=r"data\.where is 'x > 1', but the audit"):
        opened(audit, where="x > 1")
    with pytest.raises(DataError, match="which are not the 3 of its source"):
        read_judged(audit, pa.chunked_array([["a", "b", "c"]]))
    table = pq.read_table(audit / "pairs.parquet")
    pq.write_table(table.take(np.arange(N)[::-1].copy()), audit / "pairs.parquet")
    with pytest.raises(DataError, match="audit the pairs again"):
        opened(audit).split("train")
    (audit / "pairs.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot read"):
        opened(audit).split("train")
    pq.write_table(pa.table({"id": ["a"], "image": ["b"], "caption": ["c"]}), audit.parent / "web.parquet")
    with pytest.raises(DataError, match="the source has changed since the audit"):
        opened(audit)


def test_an_unfinished_audit_is_named(audit: Path) -> None:
    (audit / "audit.json").unlink()
    (audit / "work").mkdir()
    (audit / "work" / "plan.json").write_text("{}")
    with pytest.raises(DataError, match="has not finished"):
        opened(audit)
