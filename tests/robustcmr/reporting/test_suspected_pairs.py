from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustcmr.errors import DataError
from robustcmr.reporting.suspected_pairs import (
    check_same_data,
    plain_rows,
    printable,
    suspects_sheet,
    suspects_table,
    worst_suspects,
)
from robustcmr.reporting.tables import render
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
    assert worst_suspects(given, n).tolist() == expected
    assert worst_suspects(given, 7).tolist() == expected[:7]
    assert worst_suspects(table([0.9, 0.8]), 5).tolist() == []


def test_table_shows_what_matters() -> None:
    given = table([0.25, 0.0001, 0.0], margin=[0.5, -0.125, np.nan], image_name=["a.jpg", "", "[b]c"])
    lines = [line.split() for line in render(suspects_table(given, np.array([2, 1, 0])), 100).splitlines()]
    rows = [line for line in lines if line and line[0].startswith("10")]
    assert rows == [
        ["102", "0.0", "caption", "2", "[b]c"],
        ["101", "0.0", "caption", "1", "image", "1", "other1.jpg", "-0.125"],
        ["100", "25.0", "caption", "0", "a.jpg", "other0.jpg", "+0.500"],
    ]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_captions_give_way_and_numbers_do_not(width: int) -> None:
    long = " ".join(["word"] * 60)
    given = table([0.1, 0.2], margin=[0.5, 0.25], caption=[long, "short [red]one[/red]"])
    lines = render(suspects_table(given, np.array([0, 1])), width).splitlines()
    text = "\n".join(lines)
    assert all(len(line) <= width for line in lines)
    assert {"10.0", "20.0", "+0.500", "+0.250"} <= set(text.split())
    assert "…" in text
    if width == 160:
        assert "[red]one[/red]" in text
        assert sum("word" in line for line in lines) == 1


def test_plain_values() -> None:
    given = table([0.25, 0.125], margin=[0.5, np.nan], rematch_name=["", ""], image_name=["", "x"])
    rows = plain_rows(given, np.array([1, 0]))
    assert json.loads(json.dumps(rows)) == rows
    assert all(list(row) == [column.name for column in PairsTable.columns] for row in rows)
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
    sheet = np.asarray(suspects_sheet(given, np.array([0]), picture))
    assert asked == [0, 1]
    places = [np.nonzero((sheet == TONES[i]).all(axis=-1))[1] for i in (0, 1)]
    assert len(places[0]) == len(places[1]) > 5000
    assert places[0].max() < places[1].min()
    asked.clear()
    titled = suspects_sheet(given, np.array([0, 1, 2]), picture, "title")
    assert asked == [0, 1, 2, 2, 3]
    assert titled.height > sheet.shape[0]


def test_another_data_set_is_noticed() -> None:
    given = table([0.1, 0.2], pair=np.array([0, 2]), image=np.array([5, 4]), rematch=np.array([1, 3]))
    rows, captions = np.array([0, 1]), ["caption 0", "x", "caption 1"]
    check_same_data(given, rows, captions, 6)
    for wrong, n_images in ((captions[:2], 6), (["caption 0", "x", "other"], 6), (captions, 5)):
        with pytest.raises(DataError, match=r"data has changed since the run: caption \d was 'caption \d'"):
            check_same_data(given, rows, wrong, n_images)
    check_same_data(given, rows[:1], captions[:1], 6)
    suggested = table([0.1], pair=np.array([0]), rematch=np.array([7]))
    with pytest.raises(DataError, match="caption 0"):
        check_same_data(suggested, rows[:1], captions, 7)


def test_text_is_made_harmless() -> None:
    assert printable(" two\nlines\tand \x1b[31mred\x07 é日 ") == "two lines and �[31mred� é日"
