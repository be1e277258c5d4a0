"""A source and vectors that are made up, and simple mathematics, for tests of rows, parts and joins."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.jobs.audit import Given
from robustcmr.jobs.audit_settings import AuditSettings
from robustcmr.jobs.audit_stages import Mathematics
from robustcmr.sources.records import PAIRS, Shard, Source
from robustcmr.terminal import Console


@dataclass(frozen=True)
class MadeSource(Source):
    """Parquet files whose rows are pairs already: image, caption (one or a list), id."""

    batch: int = 7
    format: ClassVar[str] = "made"


def read(source, shard, start=0, where=None, need_pictures=False) -> Iterator[pa.RecordBatch]:
    """Stands in for ``robustcmr.sources.pairs.pairs``; ``where`` is a number that image names must end with."""
    row = 0
    for batch in pq.ParquetFile(shard.path).iter_batches(source.batch):
        rows = []
        for entry in batch.to_pylist():
            captions = entry["caption"] if isinstance(entry["caption"], list) else [entry["caption"]]
            fits = row >= start and (where is None or (entry["image"] or "").endswith(where))
            for part, caption in enumerate(captions if fits else []):
                name = entry["id"] if len(captions) == 1 else f"{entry['id']}#{part}"
                problem = None if caption else "empty caption"
                rows.append((name, entry["image"], caption, shard.number, row, part, problem))
            row += 1
        if rows:
            yield pa.RecordBatch.from_arrays(
                [pa.array(list(column), kind.type) for column, kind in zip(zip(*rows), PAIRS, strict=True)],
                schema=PAIRS,
            )


@dataclass(frozen=True)
class MadeVectors:
    """An array; joined by position, row or a key."""

    path: Path
    by: str
    names: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    says: tuple[str, ...] = ()

    @property
    def array(self):
        return np.load(self.path, mmap_mode="r")

    @property
    def width(self):
        return self.array.shape[1]

    @property
    def count(self):
        return len(self.array)

    def keys(self):
        if not self.names:
            return None
        parts = [(start, list(self.names[start : start + 5])) for start in range(0, len(self.names), 5)]
        return (
            pa.RecordBatch.from_pydict({"key": part, "at": np.arange(start, start + len(part))})
            for start, part in parts
        )

    def at_rows(self, shards, rows):
        return np.array(self.starts)[shards] + rows

    def take(self, at):
        found = np.array(self.array[np.maximum(at, 0)], np.float32)
        found[at < 0] = np.nan
        return found

    def fingerprint(self):
        return {"name": self.path.name, "by": self.by, "sum": float(np.nansum(self.array))}


@pytest.fixture
def made():
    """The classes above."""
    return SimpleNamespace(Source=MadeSource, Vectors=MadeVectors, read=read)


@dataclass(frozen=True)
class MadeCalibration:
    """The middle of the sampled cosines."""

    middle: float
    size: int

    @property
    def rate(self):
        return SimpleNamespace(value=0.25, low=0.2, high=0.3, says="looks mismatched: 25% (20 to 30)")

    def save(self, path):
        path.write_text(json.dumps([self.middle, self.size]))


def fit(images, texts, image_codes, caption_codes, seed, deep):
    assert len(images) == len(texts) == len(image_codes) == len(caption_codes)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)
    return MadeCalibration(float(np.median((images * texts).sum(1).astype(np.float64))), len(images))


def read_calibration(path):
    return MadeCalibration(*json.loads(path.read_text()))


def score(images, texts, image_codes, calibration, device):
    cosine = np.einsum("ij,ij->i", images, texts)
    return {"score": cosine, "evidence": 10 * (cosine - np.float32(calibration.middle))}


def judge(columns, calibration):
    evidence = columns.get("evidence", np.full(len(columns["repeated_id"]), np.nan, np.float32))
    return {
        f"p_{name}": 1 / (1 + np.exp(evidence + shift))
        for name, shift in (("mismatch", 0), ("low", 0.5), ("high", -0.5))
    }


MATHEMATICS = Mathematics(fit, read_calibration, score, judge)


def make_pairs(folder: Path, count: int = 60, shards: int = 3, width: int = 8, seed: int = 0):
    """Pairs of noise around shared directions; every fourth caption's vector is another one's."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images = rng.normal(size=(count, width)).astype(np.float32)
    texts = images + 0.2 * rng.normal(size=images.shape).astype(np.float32)
    texts[::4] = texts[np.roll(np.arange(0, count, 4), 1)]
    rows = {
        "id": [f"pair{n:05d}" for n in range(count)],
        "image": [f"i/{n // 2}.jpg" for n in range(count)],
        "caption": [f"A photo of thing {n}!" for n in range(count)],
    }
    return rows, images, texts


def write_made(folder: Path, rows, images, texts, shards: int = 3, **vectors: Any):
    """Write such pairs and return what an audit is given."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(rows)
    ends = np.linspace(0, len(table), shards + 1).astype(int)
    found = []
    for number, (first, last) in enumerate(zip(ends, ends[1:])):
        path = folder / f"{number}.parquet"
        pq.write_table(table.slice(first, last - first), path)
        found.append(Shard(number, path, int(last - first), path.stat().st_size))
    np.save(folder / "images.npy", images)
    np.save(folder / "texts.npy", texts)
    source = MadeSource(folder, tuple(found), says=("made for a test",))
    fingerprint = {"files": [[path.name, path.stat().st_size] for path in sorted(folder.iterdir())]}
    return Given(
        source,
        fingerprint,
        MadeVectors(folder / "images.npy", "position"),
        MadeVectors(folder / "texts.npy", "position"),
        read,
        MATHEMATICS,
        piece=16,
    )


def settings(**changes: Any) -> AuditSettings:
    """Settings of a small audit."""
    return replace(AuditSettings(("made",), sample=40, memory=2**28), **changes)


def outcome(folder: Path) -> dict[str, Any]:
    """What two equal audits must share: the bytes of all files, without times."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    summary = json.loads(found.pop("summary.json"))
    summary.pop("seconds")
    return {**found, "summary": summary}


@pytest.fixture
def quiet():
    """A console that is no terminal."""
    return Console(file=io.StringIO(), stderr=True)
