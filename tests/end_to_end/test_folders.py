"""The pages on run and audit folders name every file that real ones hold."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

import robustcmr
from robustcmr.cli.main import run
from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train
from robustcmr.runs.audits import AuditFolder
from robustcmr.runs.folder import RunFolder

PAGES = Path(__file__).resolve().parents[2] / "docs" / "reference"
SMALL = {"epochs": 2, "batch_size": 32, "device": "cpu"}
PAIRS = {
    "data": {"name": "scenes", "n_train": 24, "n_dev": 4, "n_test": 4},
    "matcher": {"name": "omit", "dim": 16, "word_dim": 8, "region_hidden": 8},
    "method": {"name": "l2rm", "warmup_epochs": 1, "mixture": "gaussian"},
    "noise": {"ratio": 0.4},
    "training": SMALL,
}
LABELS = {
    "data": {"name": "scenes-labels", "n_train": 60, "n_dev": 20, "n_test": 20},
    "method": {"name": "uot_rcl", "warmup_epochs": 1},
    "noise": {"ratio": 0.4},
    "training": SMALL,
}


def unnamed(folder: Path, page: str) -> list[str]:
    """Files of a folder that a page names neither by their path nor by folder and name."""
    text = (PAGES / page).read_text(encoding="utf-8")
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, parent = path.relative_to(folder).as_posix(), path.parent.relative_to(folder).as_posix()
        if f"`{name}`" not in text and not (f"`{parent}/`" in text and f"`{path.name}`" in text):
            found.append(name)
    return found


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["robustcmr", *map(str, words)])
    with pytest.raises(SystemExit):
        run()


def test_every_file_of_a_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = train(resolve(PAIRS), tmp_path / "a").path
    for words in (("report", "--no-model"), ("suspects",), ("rematch",)):
        command(monkeypatch, words[0], folder, *words[1:])
    assert {path.name for path in folder.iterdir()} >= {"report.html", "suspects.png", "rematches.csv"}
    assert unnamed(folder, "run_folder.md") == []


def test_every_file_of_a_run_on_labels_is_named(tmp_path: Path) -> None:
    folder = train(resolve(LABELS), tmp_path / "a").path
    assert (folder / "labels.csv").exists()
    assert unnamed(folder, "run_folder.md") == []


def test_every_file_of_an_audit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, n = np.random.default_rng(0), 400
    images = rng.normal(size=(n, 16))
    texts = images + 0.3 * rng.normal(size=images.shape)
    texts[:120] = texts[:120][::-1].copy()
    columns = {"uid": [f"{row:032x}" for row in range(n)], "image": [f"{row}.jpg" for row in range(n)]}
    columns["caption"] = [f"a picture with the number {row}" for row in range(n)]
    folder = tmp_path / "audit"
    robustcmr.audit_pairs(columns, (images, texts), output=folder, progress=False)
    command(monkeypatch, "suggest", folder)
    command(monkeypatch, "review", "export", folder, "-o", tmp_path / "sample.csv")
    with (tmp_path / "sample.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["verdict"] = "wrong" if int(row["id"], 16) < 120 else "right"
    with (tmp_path / "verdicts.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    command(monkeypatch, "review", "import", folder, tmp_path / "verdicts.csv", "--by", "Ann")
    command(monkeypatch, "certify", folder)
    found = {path.name for path in folder.iterdir()}
    assert found >= {
        "suggestions.parquet",
        "review.json",
        "labels.jsonl",
        "certified.json",
        "audited.parquet",
    }
    assert [name for name in unnamed(folder, "audit_folder.md") if not name.startswith("given/")] == []


@pytest.mark.parametrize(("folder", "page"), [(RunFolder, "run_folder.md"), (AuditFolder, "audit_folder.md")])
def test_every_file_that_the_code_names_is_named(folder: type, page: str) -> None:
    text = (PAGES / page).read_text(encoding="utf-8")
    paths = [value for value in vars(folder(Path("x"))).values() if isinstance(value, Path)]
    names = [path.name for path in paths if path != Path("x")]
    assert [name for name in names if f"`{name}`" not in text and f"`{name}/" not in text] == []


def test_a_file_that_no_page_names_is_found(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    for name in ("results.json", "plots/loss.png", "plots/other.png", "else.json"):
        (tmp_path / name).touch()
    assert unnamed(tmp_path, "run_folder.md") == ["else.json", "plots/other.png"]
