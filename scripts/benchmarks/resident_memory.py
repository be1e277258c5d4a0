"""Peak resident memory of training on a large feature file, beside that of training on a tiny one.

    python scripts/benchmarks/resident_memory.py                 # 8.5 GB, as many images as Flickr30K has
    python scripts/benchmarks/resident_memory.py --images 6000 --train vse_infty+hinge

The file is a hole that takes no disk: 36 regions of 2,048 zeros an image, as large to read as any other. Each
run is one ``robustcmr train`` in a process of its own, whose peak the system told. Rows go to
scripts/results/resident_memory.csv.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
from common import benchmark_parser, headline, machine_description, print_headlines, write_rows

REGIONS, WIDTH, SMALL = 36, 2048, 128


def write_folder(root: Path, images: int) -> Path:
    """Training features that are a hole in a file, and a few real ones to measure on."""
    root.mkdir()
    with (root / "train_ims.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (images, REGIONS, WIDTH)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + images * REGIONS * WIDTH * 4)
    few = np.random.default_rng(0).standard_normal((8, REGIONS, WIDTH), dtype=np.float32)
    np.save(root / "dev_ims.npy", few)
    for split, n in (("train", images), ("dev", 8)):
        lines = "\n".join(f"picture number {i % 97}" for i in range(n))
        (root / f"{split}_caps.txt").write_text(lines + "\n", encoding="utf-8")
    return root


def peak_mib(root: Path, matcher: str, method: str, asked: Namespace) -> tuple[float, str]:
    """Peak of one run, and what its log says about the features."""
    options = {
        "training.store": asked.store,
        "training.batch_size": asked.batch_size,
        "training.epochs": 1,
        "training.workers": asked.workers,
        "evaluation.test": "null",
        "data.captions_per_image": 1,
    }
    words = ["train", "--data", "precomp", "--data-root", str(root), "--device", "cpu"]
    run = root / f"run-{matcher}-{method}"
    words += ["--matcher", matcher, "--method", method, "--output", str(run)]
    for key, value in options.items():
        words += ["--set", f"{key}={value}"]
    subprocess.run([sys.executable, "-m", "robustcmr", *words], check=True, stdout=subprocess.DEVNULL)
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    log = (run / "log.txt").read_text(encoding="utf-8").splitlines()
    said = [line.partition("training features")[2] for line in log if "training features of" in line]
    return results["peak_memory_bytes"]["cpu"] / 2**20, "".join(said).strip()


def main() -> int:
    """Train on both files and write a row a training."""
    parser = benchmark_parser(__doc__, "resident_memory.csv")
    parser.add_argument("--images", type=int, default=29000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--train", nargs="+", default=["embeddings+infonce", "omit+l2rm"], metavar="MATCHER+METHOD"
    )
    parser.add_argument("--store", choices=("auto", "disk", "memory"), default="auto")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to put the files; by default the temporary folder")
    asked = parser.parse_args()
    size = asked.images * REGIONS * WIDTH * 4
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        large = write_folder(Path(folder) / "large", asked.images)
        small = write_folder(Path(folder) / "small", max(SMALL, asked.batch_size))
        for pair in asked.train:
            matcher, _, method = pair.partition("+")
            peak, said = peak_mib(large, matcher, method, asked)
            least, _ = peak_mib(small, matcher, method, asked)
            what = f"peak resident, {matcher} by {method} on {size / 1e9:.1f} GB"
            rows.append(
                {
                    **headline("memory", what, peak, size / 2**20 + least, "the file in memory", unit="MiB"),
                    "beyond_a_tiny_file_mib": f"{peak - least:.0f}",
                    "tiny_file_mib": f"{least:.0f}",
                    "file_mib": f"{size / 2**20:.0f}",
                    "features": said,
                    "matcher": matcher,
                    "method": method,
                    "batch_size": asked.batch_size,
                    "workers": asked.workers,
                    **machine_description(),
                }
            )
    print_headlines(rows)
    write_rows(asked.output, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
