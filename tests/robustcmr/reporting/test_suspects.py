from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustcmr.errors import DataError
from robustcmr.reporting import suspects
from robustcmr.reporting.suspects import SuspectedLabels, SuspectedPairs, printable
from robustcmr.reporting.tables import render
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.runs.pairs_table import PairsTable


def table(probability: Any, evidence: Any = None, margin: Any = None, **changed: Any) -> PairsTable:
    probability = np.asarray(probability, float)
    n = len(probability)
    score = np.full(n, 0.25)
    margin = np.zeros(n) if margin is None else np.asarray(margin, float)
    columns: dict[str, Any] = {
        "pair": np.arange(n) + 100,
        "caption": [f"caption {i}" for i in range(n)],
        "image": np.arange(n),
        "image_name": [f"given{i}.jpg" for i in range(n)],
        "evidence": np.zeros(n) if evidence is None else np.asarray(evidence, float),
        "clean_probability": probability,
        "is_clean": probability > 0.5,
        "rematch": np.where(np.isnan(margin), -1, np.arange(n) + 1),
        "rematch_name": [f"other{i}.jpg" for i in range(n)],
        "score": score,
        "rematch_score": score + margin,
    }
    return PairsTable(**{**columns, **changed})


@pytest.mark.parametrize("seed", range(5))
def test_worst_come_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 200
    given = table(
        rng.integers(0, 4, n) / 4,
        rng.integers(0, 3, n),
        np.where(rng.random(n) < 0.1, np.nan, rng.integers(-2, 3, n) / 4),
    )

    def badness(i: int) -> tuple[float, float, float, int]:
        margin = -np.inf if np.isnan(given.margin[i]) else given.margin[i]
        return given.clean_probability[i], -given.evidence[i], -margin, i

    expected = sorted((i for i in range(n) if not given.is_clean[i]), key=badness)
    assert SuspectedPairs(given).worst().tolist() == expected
    assert SuspectedPairs(table([0.9, 0.8])).worst().tolist() == []


def test_table_shows_what_matters() -> None:
    given = table([0.25, 0.0001, 0.0], margin=[0.5, -0.125, np.nan], image_name=["a.jpg", "", "[b]c"])
    lines = [
        line.split() for line in render(SuspectedPairs(given).drawn(np.array([2, 1, 0])), 100).splitlines()
    ]
    rows = [line for line in lines if line and line[0].startswith("10")]
    assert rows == [
        ["102", "0.0", "caption", "2", "[b]c"],
        ["101", "0.0", "caption", "1", "image", "1", "other1.jpg", "-0.12"],
        ["100", "25.0", "caption", "0", "a.jpg", "other0.jpg", "+0.50"],
    ]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_captions_give_way_and_numbers_do_not(width: int) -> None:
    long = " ".join(["word"] * 60)
    given = table([0.1, 0.2], margin=[0.5, 0.25], caption=[long, "short [red]one[/red]"])
    lines = render(SuspectedPairs(given).drawn(np.array([0, 1])), width).splitlines()
    text = "\n".join(lines)
    assert all(len(line) <= width for line in lines)
    assert {"10.0", "20.0", "+0.50", "+0.25"} <= set(text.split())
    assert "…" in text
    if width == 160:
        assert "[red]one[/red]" in text
        assert sum("word" in line for line in lines) == 1


def test_plain_values() -> None:
    given = table([0.25, 0.125], margin=[0.5, np.nan], rematch_name=["", ""], image_name=["", "x"])
    rows = SuspectedPairs(given).values(np.array([1, 0]))
    assert json.loads(json.dumps(rows)) == rows
    known = [column.name for column in PairsTable.columns if column.name != "id"]  # this data has none
    assert all(list(row) == known for row in rows)
    assert rows[0]["pair"] == 101
    assert rows[0]["decision"] == "suspect"
    assert (rows[0]["rematch"], rows[0]["rematch_score"], rows[0]["margin"]) == (None, None, None)
    assert (rows[1]["rematch"], rows[1]["margin"], rows[1]["image_name"]) == (1, 0.5, None)


TONES = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (190, 190, 20)]


def test_sheet_shows_given_and_suggested_pictures() -> None:
    asked: list[int] = []

    def picture(image: int) -> Image.Image:
        asked.append(image)
        return Image.new("RGB", (20, 20), TONES[image])

    given = table([0.1, 0.2, 0.3], margin=[0.5, 0.25, np.nan], image=np.array([0, 2, 3]))
    split = SimpleNamespace(
        captions=[""] * 100 + [f"caption {i}" for i in range(3)], n_images=4, picture=picture
    )
    sheet = np.asarray(SuspectedPairs(given).sheet(np.array([0]), split))
    assert asked == [0, 1]
    places = [np.nonzero((sheet == TONES[i]).all(axis=-1))[1] for i in (0, 1)]
    assert len(places[0]) == len(places[1]) > 5000
    assert places[0].max() < places[1].min()
    asked.clear()
    titled = SuspectedPairs(given).sheet(np.array([0, 1, 2]), split, "title")
    assert asked == [0, 1, 2, 2, 3]
    assert titled.height > sheet.shape[0]


def test_another_data_set_is_noticed() -> None:
    given = table([0.1, 0.2], pair=np.array([0, 2]), image=np.array([5, 4]), rematch=np.array([1, 3]))
    rows, captions = np.array([0, 1]), ["caption 0", "x", "caption 1"]

    def split(captions: list[str], n_images: int) -> SimpleNamespace:
        return SimpleNamespace(captions=captions, n_images=n_images)

    SuspectedPairs(given).check(rows, split(captions, 6))
    for wrong, n_images in ((captions[:2], 6), (["caption 0", "x", "other"], 6), (captions, 5)):
        with pytest.raises(DataError, match=r"data has changed since the run: caption \d was 'caption \d'"):
            SuspectedPairs(given).check(rows, split(wrong, n_images))
    SuspectedPairs(given).check(rows[:1], split(captions[:1], 6))
    suggested = table([0.1], pair=np.array([0]), rematch=np.array([7]))
    with pytest.raises(DataError, match="caption 0"):
        SuspectedPairs(suggested).check(rows[:1], split(captions, 7))


NAMES = ("cat", "dog", "[red]cow")


@dataclass
class LabelledPairs:
    """What is read of a labelled training split."""

    captions: Any
    class_names: tuple[str, ...]
    n: int
    picture: Any = None

    def __len__(self) -> int:
        return self.n


def labels_table(**changed: Any) -> LabelsTable:
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
    assert SuspectedLabels(labels_table()).worst().tolist() == [3, 2, 0, 4]
    assert SuspectedLabels(labels_table()).worst()[:2].tolist() == [3, 2]
    assert SuspectedLabels(labels_table(evidence=None)).worst().tolist() == [2, 3, 4, 0]
    of_texts = np.array([0, 1, 2, 0, 1, 1])  # the last one's text was given another class
    assert SuspectedLabels(labels_table(given_text=of_texts)).worst()[:1].tolist() == [5]
    assert SuspectedLabels(labels_table(corrected=labels_table().given)).worst().tolist() == []


def test_the_table_shows_what_is_known() -> None:
    lines = render(SuspectedLabels(labels_table()).drawn(np.array([3, 2])), 100).splitlines()
    assert lines[1].split() == ["pair", "confidence", "%", "evidence", "given", "corrected", "caption"]
    assert lines[3].split() == ["13", "70.0", "5.0", "cat", "[red]cow", "d"]
    assert lines[4].split() == ["12", "80.0", "2.0", "[red]cow", "cat", "see", "below"]
    poor = SuspectedLabels(labels_table(evidence=None, caption=None)).drawn(np.array([0]))
    lines = render(poor, 100).splitlines()
    assert lines[1].split() == ["pair", "confidence", "%", "given", "corrected"]
    both = labels_table(given_text=np.array([2, 1, 2, 0, 1, 1]), class_names=("cat", "dog", ""))
    assert "cat / class 2" in render(SuspectedLabels(both).drawn(np.array([0])), 100)


def test_plain_values_are_those_of_the_file() -> None:
    (row,) = SuspectedLabels(labels_table()).values(np.array([3]))
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
    poor = labels_table(evidence=None, caption=None, given_text=np.array([0, 1, 2, 1, 1, 1]))
    (row,) = SuspectedLabels(poor).values(np.array([3]))
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

    monkeypatch.setattr(suspects, "contact_sheet", sheet)
    asked: list[int] = []

    def picture(image: int) -> Image.Image:
        asked.append(image)
        return Image.new("RGB", (4, 4))

    split = LabelledPairs(labels_table().caption, NAMES, 6, picture)
    SuspectedLabels(labels_table(pair=np.arange(6))).sheet(np.array([3, 2]), split)
    assert asked == [3, 2]
    assert shown[0].lines == ["given: cat", "corrected: [red]cow", "d"]
    assert (shown[0].label, shown[0].names) == ("confidence 70.0%", ["pair 3"])
    assert shown[1].lines[2] == "see below"
    monkeypatch.undo()
    assert (
        SuspectedLabels(labels_table(pair=np.arange(6), caption=None))
        .sheet(np.array([3]), split, "title")
        .width
        > 200
    )


def test_other_data_are_told() -> None:
    small = labels_table(pair=np.arange(6))
    captions, rows = ["a", "b", "see\nbelow", "d", "e", "f"], np.array([2, 3])
    SuspectedLabels(small).check(rows, LabelledPairs(captions, NAMES, 6))
    SuspectedLabels(small).check(rows, LabelledPairs(None, NAMES, 6))
    few = labels_table(pair=np.arange(6), class_names=("cat", "", ""))
    SuspectedLabels(few).check(rows, LabelledPairs(captions, NAMES, 6))
    for changes in ({"pair": np.arange(6) + 3}, {"class_names": (*NAMES, "")}):
        with pytest.raises(DataError, match="has changed since the run"):
            SuspectedLabels(labels_table(**{"pair": np.arange(6), **changes})).check(
                rows, LabelledPairs(captions, NAMES, 6)
            )
    for other, names, n in ((captions, NAMES, 7), (captions, ("cat",), 6), (captions[::-1], NAMES, 6)):
        with pytest.raises(DataError, match=r"has changed since the run.*--no-sheet"):
            SuspectedLabels(small).check(rows, LabelledPairs(other, names, n))


def test_text_is_made_harmless() -> None:
    assert printable(" two\nlines\tand \x1b[31mred\x07 é日 ") == r"two lines and \x1b[31mred\x07 é日"
