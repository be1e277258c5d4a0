"""Shared by all tests: an offline, quiet environment and a tiny data folder."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["ACCELERATE_DISABLE_RICH"] = "1"
if capability := os.environ.get("ATEN_CPU_CAPABILITY"):  # torch.compile reuses kernels of another capability
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor-{capability}")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job, whose children ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    """Write lone surrogates of captured output as escapes: a worker cannot send them."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def write_folder(
    root: Path,
    sizes: dict[str, int] | None = None,
    regions: int = 3,
    width: int = 8,
    captions_per_image: int = 5,
    seed: int = 0,
) -> Path:
    """A folder of precomputed features whose captions say which prototype each region shows."""
    rng = np.random.default_rng(seed)
    words = [f"thing{i}" for i in range(12)]
    prototypes = rng.normal(size=(len(words), width))
    root.mkdir(parents=True, exist_ok=True)
    for split, n in (sizes or {"train": 40, "dev": 12, "test": 10}).items():
        shown = np.array([rng.choice(len(words), regions, replace=False) for _ in range(n)])
        features = prototypes[shown] + 0.1 * rng.normal(size=(n, regions, width))
        np.save(root / f"{split}_ims.npy", features.astype(np.float32))
        lines = []
        for row in shown:
            for _ in range(captions_per_image):
                named = rng.permutation(row)[: rng.integers(2, regions + 1)]
                lines.append("a picture of " + " and ".join(words[i] for i in named))
        (root / f"{split}_caps.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests build and record is kept out of the user's folders."""
    os.environ["ROBUSTCMR_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["ROBUSTCMR_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """A fresh folder: train 40, dev 12 and test 10 images of 3 regions, 5 captions each."""
    return write_folder(tmp_path / "data")


@pytest.fixture(scope="session")
def make_folder() -> Any:
    """The function that writes such folders."""
    return write_folder


def write_labelled(
    root: Path,
    sizes: dict[str, int] | None = None,
    n_classes: int = 4,
    widths: tuple[int, int] = (10, 6),
    spread: float = 0.5,
    seed: int = 0,
) -> Path:
    """A folder of labelled vectors, a file a split, those of a class around one point of each side."""
    rng = np.random.default_rng(seed)
    middles = [rng.normal(size=(n_classes, width)) for width in widths]
    root.mkdir(parents=True, exist_ok=True)
    for split, n in (sizes or {"train": 60, "dev": 20, "test": 24}).items():
        labels = rng.permutation(n) % n_classes
        image, text = (
            (middle[labels] + spread * rng.normal(size=(n, middle.shape[1]))).astype(np.float32)
            for middle in middles
        )
        np.savez(root / f"{split}.npz", image=image, text=text, label=labels)
    return root


@pytest.fixture
def labelled_folder(tmp_path: Path) -> Path:
    """A fresh folder of labelled vectors: train 60, dev 20 and test 24 pairs of 4 classes."""
    return write_labelled(tmp_path / "labelled")


@pytest.fixture(scope="session")
def make_labelled_folder() -> Any:
    """The function that writes such folders."""
    return write_labelled


@pytest.fixture
def tiny_tree(data_folder: Path) -> dict[str, Any]:
    """A configuration that trains in about a second."""
    return {
        "data": {"name": "precomp", "root": str(data_folder)},
        "matcher": {"name": "omit", "dim": 16, "word_dim": 8, "region_hidden": 8},
        "method": {"name": "hinge"},
        "noise": {"ratio": 0.4},
        "training": {"epochs": 3, "batch_size": 16, "device": "cpu"},
        "optim": {"lr": 0.003},
    }


def comparable(run: Path) -> dict[str, Any]:
    """What two equal runs must share: weights, metrics and results without times and memory."""
    import safetensors.numpy

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in ("seconds", "peak_memory_bytes")}
        return value

    weights = {
        f"{path.parent.name}/{path.name}/{key}": array.tobytes()
        for path in sorted((run / "checkpoints").glob("*/*.safetensors"))
        for key, array in safetensors.numpy.load_file(path).items()
    }
    rows = [strip(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": weights,
        "rows": rows,
        "results": strip(json.loads((run / "results.json").read_text())),
    }


@pytest.fixture(scope="session")
def comparable_run() -> Any:
    """The function that reads what two equal runs must share."""
    return comparable


@pytest.fixture(scope="session")
def tiny_models() -> ModuleType:
    """The script that writes tiny models."""
    spec = importlib.util.spec_from_file_location(
        "make_tiny_models", ROOT / "scripts" / "make_tiny_models.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clip_folder(tiny_models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny CLIP; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "clip"
    tiny_models.make_clip(folder)
    return folder


@pytest.fixture(scope="session")
def bert_folder(tiny_models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny BERT; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "bert"
    tiny_models.make_bert(folder)
    return folder
