"""The labels most likely to be wrong, for the terminal, for programs and for the eye."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustcmr.errors import DataError
from robustcmr.reporting import suspected_labels
from robustcmr.reporting.suspected_labels import (
    check_same_labels,
    most_suspected,
    suspected_labels_sheet,
    suspected_labels_table,
)
from robustcmr.reporting.suspected_pairs import plain_rows
from robustcmr.reporting.tables import render
from robustcmr.runs.labels_table import LabelsTable

NAMES = ("cat", "dog", "[red]cow")


def table(**changed: Any) -> LabelsTable:
    columns: dict[str, Any] = {
        "pair": np.arange(10, 16),
        "given": np.array([0, 1, 2, 0, 1, 2]),
        "corrected": np.array([1, 1, 0, 2, 0, 2]),
        "confidence": np.array([0.5, 0.9, 0.8, 0.7, 0.6, 0.4]),
        "class_names": NAMES,
        "evidence": np.array([2.0, 9.0, 2.0, 5.0, 1.0, 8.0]),
        "caption": ["a", "b", "see\nbelow", "d", "e", "f"],
    }
    return LabelsTable(**{**columns, **changed})


def test_changed_labels_come_first_by_evidence_then_confidence() -> None:
    assert most_suspected(table(), 10).tolist() == [3, 2, 0, 4]
    assert most_suspected(table(), 2).tolist() == [3, 2]
    assert most_suspected(table(evidence=None), 10).tolist() == [2, 3, 4, 0]
    of_texts = np.array([0, 1, 2, 0, 1, 1])  # the last one's text was given another class
    assert most_suspected(table(given_text=of_texts), 1).tolist() == [5]
    assert most_suspected(table(corrected=table().given), 5).tolist() == []


def test_the_table_shows_what_is_known() -> None:
    lines = render(suspected_labels_table(table(), np.array([3, 2])), 100).splitlines()
    assert lines[1].split() == ["pair", "confidence", "%", "evidence", "given", "corrected", "caption"]
    assert lines[3].split() == ["13", "70.0", "5.000", "cat", "[red]cow", "d"]
    assert lines[4].split() == ["12", "80.0", "2.000", "[red]cow", "cat", "see", "below"]
    poor = suspected_labels_table(table(evidence=None, caption=None), np.array([0]))
    lines = render(poor, 100).splitlines()
    assert lines[1].split() == ["pair", "confidence", "%", "given", "corrected"]
    both = table(given_text=np.array([2, 1, 2, 0, 1, 1]), class_names=("cat", "dog", ""))
    assert "cat / class 2" in render(suspected_labels_table(both, np.array([0])), 100)


def test_plain_values_are_those_of_the_file() -> None:
    (row,) = plain_rows(table(), np.array([3]))
    assert row == {
        "pair": 13,
        "given": 0,
        "given_name": "cat",
        "given_text": None,
        "given_text_name": None,
        "corrected": 2,
        "corrected_name": "[red]cow",
        "confidence": 0.7,
        "decision": "changed",
        "evidence": 5.0,
        "caption": "d",
    }
    poor = table(evidence=None, caption=None, given_text=np.array([0, 1, 2, 1, 1, 1]))
    (row,) = plain_rows(poor, np.array([3]))
    assert (row["given_text"], row["given_text_name"], row["evidence"], row["caption"]) == (
        1,
        "dog",
        None,
        None,
    )


def test_a_card_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []

    def sheet(entries: Any, **options: Any) -> Image.Image:
        shown.extend(entries)
        return Image.new("RGB", (9, 9))

    monkeypatch.setattr(suspected_labels, "contact_sheet", sheet)
    asked: list[int] = []

    def picture(image: int) -> Image.Image:
        asked.append(image)
        return Image.new("RGB", (4, 4))

    suspected_labels_sheet(table(), np.array([3, 2]), picture)
    assert asked == [13, 12]
    assert shown[0].lines == ["given: cat", "corrected: [red]cow", "d"]
    assert (shown[0].label, shown[0].names) == ("confidence 70.0%", ["pair 13"])
    assert shown[1].lines[2] == "see below"
    monkeypatch.undo()
    assert suspected_labels_sheet(table(caption=None), np.array([3]), picture, "title").width > 200


def test_other_data_are_told() -> None:
    small = table(pair=np.arange(6))
    captions, rows = ["a", "b", "see\nbelow", "d", "e", "f"], np.array([2, 3])
    check_same_labels(small, rows, captions, NAMES, 6)
    check_same_labels(small, rows, None, NAMES, 6)
    check_same_labels(table(pair=np.arange(6), class_names=("cat", "", "")), rows, captions, NAMES, 6)
    for other, names, n in ((captions, NAMES, 7), (captions, ("cat",), 6), (captions[::-1], NAMES, 6)):
        with pytest.raises(DataError, match=r"has changed since the run.*--no-sheet"):
            check_same_labels(small, rows, other, names, n)
