"""Pages of real runs on labelled data: what they say is what the run folders say."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from robustcmr.config.resolve import resolve
from robustcmr.jobs.open import open_data
from robustcmr.jobs.report import write_run_report
from robustcmr.jobs.train import train
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.labels_table import LabelsTable


@pytest.fixture(scope="module")
def labels_report(labels_run, tmp_path_factory, parse):
    path = write_run_report(labels_run, tmp_path_factory.mktemp("pages") / "labels.html")
    return parse(path.read_text(encoding="utf-8"))


def test_labels_of_a_run(labels_report, labels_run):
    run = RunFolder(labels_run)
    results, rows = run.read_results(), run.read_metrics()
    assert labels_report.table("Measures in percent")["mAP"]["test"] == results["splits"]["test"]["map"]
    told = labels_report.table(f"Labels by the model of epoch {results['findings']['epoch']}, in percent")
    assert told["corrected labels that are right"] == results["findings"]["correction"]["corrected_accuracy"]
    curve = labels_report.tables["Labels that are right"]
    assert curve[-1][1] == rows[-1]["correction"]["corrected_accuracy"]


def test_which_class_is_taken_for_which(make_labelled_folder, tmp_path, parse):
    folder = make_labelled_folder(tmp_path / "data", {"train": 160, "dev": 20, "test": 20})
    tree = {
        "data": {"name": "labelled", "root": str(folder)},
        "method": {"name": "uot_rcl", "warmup_epochs": 2},
        "noise": {"ratio": 0.4},
        "training": {"epochs": 5, "batch_size": 20, "device": "cpu"},
    }
    run = train(resolve(tree), tmp_path / "run")
    page = parse(write_run_report(run.path).read_text())
    found = run.read_results()["findings"]["correction"]
    assert found["repaired"] > 0
    given, corrected = (
        np.array([row[1:] for row in page.tables[name][1:]], dtype=float)
        for name in ("Given labels", "Corrected labels")
    )
    assert np.trace(given) / 160 == pytest.approx(found["given_accuracy"])
    assert np.trace(corrected) / 160 == pytest.approx(found["corrected_accuracy"])
    truth = np.bincount(np.load(folder / "train.npz")["label"])
    np.testing.assert_array_equal(given.sum(1), truth)  # a row a true class
    np.testing.assert_array_equal(corrected.sum(1), truth)


def test_suspected_labels_come_with_their_pictures(labels_run, tmp_path, parse):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(labels_run, run.path)
    table = LabelsTable.read(run.labels)
    corrected = table.corrected.copy()
    corrected[[3, 5, 8]] = (table.given[[3, 5, 8]] + 1) % 9
    names = open_data(run.path)[1].class_names
    confidence = np.ones(len(table))
    dataclasses.replace(table, corrected=corrected, class_names=names, confidence=confidence).write(
        run.labels
    )
    page = parse(write_run_report(run.path).read_text())
    assert sorted(int(number) for number in re.findall(r"Pair (\d+)", page.text)) == [3, 5, 8]
    assert "The 3 most suspected of 3 corrected labels" in page.text
    assert sum(tag == "img" for tag, _ in page.elements) == 3
    assert f"given {names[table.given[5]]}, corrected to {names[corrected[5]]}" in page.text


def test_a_method_that_corrects_no_labels(labels_run, tmp_path, parse):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(labels_run, run.path)
    run.labels.unlink()
    run.write_metrics([{k: v for k, v in row.items() if k != "correction"} for row in run.read_metrics()])
    results = run.read_results()
    del results["findings"]
    run.results.write_text(json.dumps(results))
    page = parse(write_run_report(run.path).read_text())
    assert page.text.count("uot_rcl does not correct labels") == 2
    run.results.unlink()
    page = parse(write_run_report(run.path).read_text())
    assert "No label has been corrected yet" in page.text


def test_labels_without_pictures_of_unknown_truth(make_labelled_folder, tmp_path, parse):
    data = {"name": "labelled", "root": str(make_labelled_folder(tmp_path / "data")), "trusted": False}
    tree = {
        "data": data,
        "method": {"name": "uot_rcl", "warmup_epochs": 1},
        "noise": {"ratio": 0.4},
        "training": {"epochs": 2, "batch_size": 20, "device": "cpu"},
    }
    run = train(resolve(tree), tmp_path / "run")
    page = parse(write_run_report(run.path).read_text())
    assert "How right the labels are is not shown" in page.text
    assert "Labels by true class are not shown" in page.text
    assert "vectors without pictures" in page.text
    assert "pairs changed" in page.text


@pytest.mark.parametrize(
    ("gallery", "model", "said"), [(0, True, "without a gallery"), (9, False, "files of the run alone")]
)
def test_labels_without_a_gallery(labels_run, tmp_path, parse, gallery, model, said):
    page = parse(write_run_report(labels_run, tmp_path / "a.html", gallery, model).read_text())
    assert said in page.text
    assert not any(tag == "img" for tag, _ in page.elements)
