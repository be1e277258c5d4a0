"""An audit of many made pairs: time, memory, and whether one that is killed ends as one that is not.

    python scripts/benchmarks/audit_scale.py                                    # 200,000 pairs of 64 numbers
    python scripts/benchmarks/audit_scale.py --pairs 10000000 --width 128 --folder /big/disk --kills 5

Pairs are written as parquet files with a ``.npy`` of float16 a side, a fifth of them mismatched. Each audit
runs in a process of its own on one core, joins in ``--memory`` GiB. Then the same audit is killed with
``SIGKILL`` at random times, resumed each time, and its files are compared with those of the first. The
reference is a pass over the same vectors that reads, scales and multiplies them, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import common
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

SHARD = 500_000
BLOCK = 65_536
CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def write_pairs(folder: Path, pairs: int, width: int) -> None:
    """Write pairs whose captions' vectors are those of the pictures with noise, a fifth of them exchanged."""
    (folder / "pairs").mkdir(parents=True)
    sides = [
        np.lib.format.open_memmap(folder / f"{side}s.npy", "w+", np.float16, (pairs, width))
        for side in ("image", "text")
    ]
    words = np.array([f"word{n}" for n in range(3000)])
    for first in range(0, pairs, SHARD):
        count = min(SHARD, pairs - first)
        rng = np.random.default_rng([first, 1])
        images = rng.standard_normal((count, width), dtype=np.float32)
        texts = images + rng.standard_normal((count, width), dtype=np.float32)
        wrong = np.flatnonzero(rng.random(count) < 0.2)
        texts[wrong] = texts[np.roll(wrong, 1)]
        sides[0][first : first + count], sides[1][first : first + count] = images, texts
        numbers = range(first, first + count)
        columns = {
            "uid": [f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}{n:016x}" for n in numbers],
            "url": [f"https://example.com/pictures/{n}.jpg" for n in numbers],
            "caption": [" ".join(row) for row in words[rng.integers(0, len(words), (count, 9))]],
        }
        pq.write_table(pa.table(columns), folder / "pairs" / f"{first // SHARD:05d}.parquet")
    for side in sides:
        side.flush()


def cosine_pass(folder: Path) -> float:
    """Return the seconds of a pass that reads both sides, scales rows to length 1 and multiplies them."""
    sides = [np.load(folder / f"{side}s.npy", mmap_mode="r") for side in ("image", "text")]
    began = time.perf_counter()
    for first in range(0, len(sides[0]), BLOCK):
        image, text = (np.asarray(side[first : first + BLOCK], np.float32) for side in sides)
        image /= np.linalg.norm(image, axis=1, keepdims=True)
        text /= np.linalg.norm(text, axis=1, keepdims=True)
        np.einsum("ij,ij->i", image, text)
    return time.perf_counter() - began


def audit_here(folder: Path, output: Path, memory: float, sample: int, near: bool) -> None:
    """Audit in this process, on one core, and print the seconds of each stage as JSON."""
    import torch
    from rich.console import Console

    from robustcmr.jobs.audit import audit
    from robustcmr.jobs.audit_progress import AuditProgress
    from robustcmr.jobs.audit_settings import AuditSettings

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    seconds: dict[str, float] = {}
    stage = AuditProgress.stage

    @contextmanager
    def timed(self: AuditProgress, name: str, pairs: int | None, done: int = 0) -> Any:
        began = time.perf_counter()
        with stage(self, name, pairs, done):
            yield
        seconds[name] = time.perf_counter() - began

    AuditProgress.stage = timed  # type: ignore[method-assign]
    settings = AuditSettings(
        (str(folder / "pairs"),),
        image_vectors=str(folder / "images.npy"),
        text_vectors=str(folder / "texts.npy"),
        memory=int(memory * 2**30),
        sample=sample,
        near_duplicates=near,
    )
    audit(settings, output, Console(stderr=True, quiet=True))
    print(json.dumps(seconds))


class Child:
    """An audit in a process of its own, whose memory is looked at as it runs.

    Attributes:
        own: peak of the memory of its own, in MiB, without the files that it maps.
        resident: peak with the pages of mapped files that were in memory.
    """

    def __init__(self, options: argparse.Namespace, folder: Path, output: Path) -> None:
        words = ["--child", str(folder), str(output), "--memory", str(options.memory)]
        command = [sys.executable, __file__, *words, "--sample", str(options.sample)]
        command += [] if options.near_duplicates else ["--no-near-duplicates"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **CORE}
        )
        self.own, self.resident = 0.0, 0.0

    def wait(self, kill_after: float | None = None) -> dict[str, float] | None:
        """Return the seconds of each stage; None if it was killed after so many seconds."""
        began, process = time.monotonic(), psutil.Process(self._process.pid)
        while self._process.poll() is None:
            try:
                found = process.memory_info()
            except psutil.NoSuchProcess:
                break
            self.own = max(self.own, (found.rss - getattr(found, "shared", 0)) / 2**20)
            self.resident = max(self.resident, found.rss / 2**20)
            if kill_after is not None and time.monotonic() - began > kill_after:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()
                return None
            time.sleep(0.05)
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise SystemExit(f"the audit failed with code {self._process.returncode}")
        return dict(json.loads(output))


def outcome(folder: Path) -> dict[str, str]:
    """Return a digest of each file of an audit, without its times."""
    import hashlib

    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("summary.json", "audit.json"):
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
            found[str(path.relative_to(folder))] = digest.hexdigest()
    summary = json.loads((folder / "summary.json").read_text())
    del summary["seconds"]
    return {**found, "summary.json": json.dumps(summary)}


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Audit, kill and resume, compare; return the rows of the table."""
    print(f"writing {options.pairs:,} pairs of {options.width} numbers", file=sys.stderr)
    write_pairs(folder / "data", options.pairs, options.width)
    began = time.monotonic()
    child = Child(options, folder / "data", folder / "whole")
    stages = child.wait() or {}
    whole = time.monotonic() - began
    plain = cosine_pass(folder / "data")
    each = 1e6 / options.pairs
    for name, seconds in stages.items():
        print(f"{name:28} {seconds:9.1f} s {seconds * each:8.2f} us a pair")
    print(f"{'all, with the start':28} {whole:9.1f} s {whole * each:8.2f} us a pair")
    print(f"{'plain cosine pass':28} {plain:9.1f} s {plain * each:8.2f} us a pair")
    print(f"memory: {child.own:,.0f} MiB of its own, {child.resident:,.0f} MiB with mapped files")
    killed, same = 0, True
    if options.kills:
        chance = random.Random(0)
        resident = 0.0
        while True:
            after = whole * chance.uniform(0.1, 0.6) if killed < options.kills else None
            again = Child(options, folder / "data", folder / "killed")
            done = again.wait(after)
            resident = max(resident, again.own)
            if done is not None or (folder / "killed" / "audit.json").exists():
                break
            killed += 1
        same = outcome(folder / "whole") == outcome(folder / "killed")
        print(f"memory of the killed ones: {resident:,.0f} MiB of its own")
        print(f"killed {killed} times and resumed: {'the same files' if same else 'OTHER FILES'}")
    what = f"audit of {options.pairs:,} pairs of {options.width} numbers, one core"
    extra = {"pairs": options.pairs, "width": options.width, "memory_gib": options.memory, "killed": killed}
    extra |= {"own_mib": round(child.own), "resident_mib": round(child.resident), "same_files": same}
    cosine = "plain cosine pass over the same files"
    rows = [
        common.headline("audit", f"{what}: all", whole * each, plain * each, cosine, unit="us a pair"),
        common.headline(
            "audit", f"{what}: scores", stages["scoring"] * each, plain * each, cosine, unit="us a pair"
        ),
    ]
    return [{**row, **extra} for row in rows]


def main() -> None:
    """Run the benchmark."""
    parser = common.benchmark_parser(__doc__, "audit_scale.csv")
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--memory", type=float, default=0.5, help="GiB that joins may take")
    parser.add_argument("--sample", type=int, default=50_000, help="pairs that the calibration is fitted on")
    common.add_switch(parser, "--near-duplicates", "look for near duplicates too")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for the pairs and audits; a temporary one by default")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = common.parsed(parser)
    if options.child is not None:
        audit_here(*options.child, options.memory, options.sample, options.near_duplicates)
        return
    folder = Path(tempfile.mkdtemp(prefix="audit-scale-", dir=options.folder))
    try:
        rows = measure(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    common.publish(rows, options.output)


if __name__ == "__main__":
    main()
