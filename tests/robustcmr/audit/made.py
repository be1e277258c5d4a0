"""Pairs, vectors and simple mathematics, for tests of rows, parts, joins and outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.calibration import NoiseRate
from robustcmr.audit.judging import Repeats
from robustcmr.jobs.audit_mathematics import Mathematics
from robustcmr.jobs.audit_run import Given
from robustcmr.jobs.audit_settings import AuditSettings
from robustcmr.sources.guess import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.vectors import open_vectors


@dataclass(frozen=True)
class Calibration:
    """The middle of the sampled cosines."""

    middle: float
    size: int
    width: int

    @property
    def rate(self):
        return NoiseRate(0.25, 0.2, 0.3, 0.1, "looks mismatched: 25% (20 to 30)")


def save_calibration(calibration, path):
    path.write_text(json.dumps([calibration.middle, calibration.size, calibration.width]))


def fit(images, texts, image_codes, caption_codes, seed, deep, device):
    assert len(images) == len(texts) == len(image_codes) == len(caption_codes)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)
    middle = float(np.median((images * texts).sum(1, dtype=np.float64)))
    return Calibration(middle, len(images), images.shape[1])


def read_calibration(path):
    return Calibration(*json.loads(path.read_text()))


def score(images, texts, image_codes, calibration, device):
    cosine = np.einsum("ij,ij->i", images, texts)
    odds = -10 * (cosine - np.float32(calibration.middle - 0.2))
    return {"similarity": cosine, "log_odds": odds}


def terms(columns, calibration):
    """A caption beside several pictures is pasted if the odds of its pairs add up to more than 0."""
    rows = np.flatnonzero((columns["plain_images"] > 1) & ~np.isnan(columns["log_odds"]))
    return rows, np.round(columns["log_odds"][rows] * 1000).astype(np.int64)


def repeats(log_bayes, log_odds, calibration):
    return Repeats(0.5, float(np.mean(log_odds) * 1e-6) if len(log_odds) else 0.0)


def judge(columns, found, calibration):
    odds = columns.get("log_odds", np.full(len(columns["repeated_id"]), np.nan, np.float32))
    shifts = {"p_mismatch": 0, "p_low": -0.5, "p_high": 0.5}
    chances = {name: 1 / (1 + np.exp(-(odds + np.float32(shift)))) for name, shift in shifts.items()}
    pasted = (columns["log_bayes"] > 0).astype(np.float32)
    return {"score": columns.get("similarity", odds), **chances, "pasted": pasted}


MATHEMATICS = Mathematics(fit, save_calibration, read_calibration, score, terms, repeats, judge)


def make(count: int = 60, width: int = 16, seed: int = 0) -> tuple[dict[str, list[Any]], Any, Any]:
    """Two pairs a picture; the vector of every fourth caption is that of another one."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, width)).astype(np.float32)
    texts = images + 0.2 * rng.normal(size=images.shape).astype(np.float32)
    texts[::4] = texts[np.roll(np.arange(0, count, 4), 1)]
    rows = {
        "id": [f"pair{n:05d}" for n in range(count)],
        "image": [f"i/{n // 2}.jpg" for n in range(count)],
        "caption": [f"A photo of thing {n} in town {n // 3 % 4}!" for n in range(count)],
    }
    return rows, images, texts


def write(folder: Path, rows: Any, images: Any, texts: Any, shards: int = 3) -> Path:
    """Write pairs as parquet files with vectors beside them."""
    (folder / "web").mkdir(parents=True, exist_ok=True)
    table = pa.table(rows)
    ends = np.linspace(0, len(table), shards + 1).astype(int)
    for number, (first, last) in enumerate(pairwise(ends)):
        pq.write_table(table.slice(first, last - first), folder / "web" / f"{number}.parquet")
    np.save(folder / "images.npy", images)
    np.save(folder / "texts.npy", texts)
    return folder


def given(folder: Path, piece: int = 32, **changes: Any) -> Given:
    """What an audit of such a folder works on."""
    source = open_source(folder / "web")
    files = [[str(path), path.stat().st_size] for path in sorted(folder.rglob("*.parquet"))]
    vectors = [open_vectors(folder / f"{side}s.npy", side, source) for side in ("image", "text")]
    return replace(Given(source, {"files": files}, *vectors, pairs, MATHEMATICS, piece), **changes)


def settings(**changes: Any) -> AuditSettings:
    """Settings of a small audit."""
    return replace(AuditSettings(("made",), sample=40, memory=2**28), **changes)


def outcome(folder: Path) -> dict[str, Any]:
    """What two equal audits must share: the bytes of all files, without times."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    summary = json.loads(found.pop("summary.json"))
    assert summary.pop("seconds") >= 0
    return {**found, "summary": summary}
