from __future__ import annotations

import pytest

from robustcmr.reporting.tables import recall_table, render

DEV = {
    "i2t_r1": 61.25,
    "i2t_r5": 80.0,
    "i2t_r10": 100.0,
    "i2t_median_rank": 1.0,
    "i2t_mean_rank": 4.25,
    "t2i_r1": 0.0,
    "t2i_r5": 70.5,
    "t2i_r10": 76.0,
    "t2i_median_rank": 1.4,
    "t2i_mean_rank": 1234.56,
    "rsum": 387.75,
    "n_images": 1000,
}


def ends(line: str) -> list[int]:
    """Where each word of a line ends, but for the first, which is the name."""
    return [i for i, c in enumerate(line) if c != " " and line[i + 1 : i + 2] in ("", " ")][1:]


def test_numbers_stand_under_their_headings() -> None:
    lines = render(recall_table({"dev": DEV, "test": {**DEV, "i2t_r1": 5.0}}, rows="split")).splitlines()
    groups, heads, _, dev, test = (line for line in lines if line)
    assert groups.split("  ")[-1].strip() == "text to image"
    assert groups.index("image to text") < groups.index("text to image")
    assert heads.split() == ["split", *["R@1", "R@5", "R@10"] * 2, "rSum"]
    assert dev.split() == ["dev", "61.2", "80.0", "100.0", "0.0", "70.5", "76.0", "387.8"]
    assert test.split()[:2] == ["test", "5.0"]
    assert ends(heads) == ends(dev) == ends(test)
    # Each group's name lies in the middle over its own three columns, of which the widest number takes five.
    for name, first in (("image to text", 0), ("text to image", 3)):
        middle = (ends(heads)[first] - 4 + ends(heads)[first + 2]) / 2
        assert abs(groups.index(name) + (len(name) - 1) / 2 - middle) <= 1


def test_ranks_are_shown_when_asked_for() -> None:
    lines = [line for line in render(recall_table({"dev": DEV}, ranks=True)).splitlines() if line]
    assert lines[1].split() == [*["R@1", "R@5", "R@10", "MedR", "MeanR"] * 2, "rSum"]
    assert lines[3].split()[1:6] == ["61.2", "80.0", "100.0", "1", "4.2"]
    assert lines[3].split()[6:] == ["0.0", "70.5", "76.0", "1.4", "1234.6", "387.8"]
    named = [
        line for line in render(recall_table({"dev": DEV}, ranks=True, rows="split")).splitlines() if line
    ]
    assert ends(named[1]) == ends(named[3])


def test_a_narrow_terminal_folds_names_but_keeps_numbers() -> None:
    name = "a run with quite a long name"
    text = render(recall_table({name: DEV}), width=60)
    for number in ("61.2", "100.0", "76.0", "387.8"):
        assert number in text
    assert "…" not in text
    assert all(len(line) <= 60 for line in text.splitlines())
    assert name not in text
    assert name in render(recall_table({name: DEV}), width=100)


def test_names_are_not_read_as_markup() -> None:
    assert "[red]x[/red]" in render(recall_table({"[red]x[/red]": DEV}))


def test_title_and_plain_text() -> None:
    text = render(recall_table({"dev": DEV}, title="Best epoch 3"))
    assert text.splitlines()[0] == "Best epoch 3"
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert text.endswith("\n")


def test_a_missing_measure_is_named() -> None:
    with pytest.raises(ValueError, match="'dev' has no measure 'i2t_r1', only rsum"):
        recall_table({"dev": {"rsum": 1.0}})
    with pytest.raises(ValueError, match="only none"):
        recall_table({"dev": {}})
