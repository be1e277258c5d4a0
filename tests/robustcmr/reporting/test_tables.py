from __future__ import annotations

import re

import pytest
from rich.table import Table

from robustcmr.reporting.tables import CORRECTION, DIVISION, REMATCH, measures_table, render, shares_table

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
    """Where each word of a line ends, but for the name at its start, which a heading lacks."""
    places = [i for i, c in enumerate(line) if c != " " and line[i + 1 : i + 2] in ("", " ")]
    return places[1:] if re.search(r"\d\.\d", line) else places


def test_numbers_stand_under_their_headings() -> None:
    lines = render(measures_table({"dev": DEV, "test": {**DEV, "i2t_r1": 5.0}})).splitlines()
    groups, heads, _, dev, test = (line for line in lines if line)
    assert groups.split("  ")[-1].strip() == "text to image"
    assert groups.index("image to text") < groups.index("text to image")
    assert heads.split() == [*["R@1", "R@5", "R@10"] * 2, "rSum"]
    assert dev.split() == ["dev", "61.2", "80.0", "100.0", "0.0", "70.5", "76.0", "387.8"]
    assert test.split()[:2] == ["test", "5.0"]
    assert ends(heads) == ends(dev) == ends(test)
    # Each group's name lies in the middle over its own three columns, of which the widest number takes five.
    for name, first in (("image to text", 0), ("text to image", 3)):
        middle = (ends(heads)[first] - 4 + ends(heads)[first + 2]) / 2
        assert abs(groups.index(name) + (len(name) - 1) / 2 - middle) <= 1


def test_ranks_are_shown_when_asked_for() -> None:
    lines = [line for line in render(measures_table({"dev": DEV}, ranks=True)).splitlines() if line]
    assert lines[1].split() == [*["R@1", "R@5", "R@10", "MedR", "MeanR"] * 2, "rSum"]
    assert lines[3].split()[1:6] == ["61.2", "80.0", "100.0", "1", "4.2"]
    assert lines[3].split()[6:] == ["0.0", "70.5", "76.0", "1.4", "1234.6", "387.8"]
    assert ends(lines[1]) == ends(lines[3])


def test_a_narrow_terminal_folds_names_but_keeps_numbers() -> None:
    name = "a run with quite a long name"
    text = render(measures_table({name: DEV}), width=60)
    for number in ("61.2", "100.0", "76.0", "387.8"):
        assert number in text
    assert "…" not in text
    assert all(len(line) <= 60 for line in text.splitlines())
    assert name not in text
    assert name in render(measures_table({name: DEV}), width=100)


def test_names_are_not_read_as_markup() -> None:
    assert "[red]x[/red]" in render(measures_table({"[red]x[/red]": DEV}))


def test_plain_text() -> None:
    text = render(measures_table({"dev": DEV}))
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert text.endswith("\n")


def test_a_missing_measure_is_named() -> None:
    with pytest.raises(ValueError, match="'dev' has no measure 'i2t_r1', only rsum"):
        measures_table({"dev": {"rsum": 1.0}})
    with pytest.raises(ValueError, match="only none"):
        measures_table({"dev": {}})


DIVIDED = {
    "auroc": 1.0,
    "average_precision": 0.951,
    "precision": 0.9126,
    "recall": 0.0,
    "f1": 0.5,
    "accuracy": 0.93,
    "calibration_error": 0.021,
    "suspected": 0.383,
    "noise_rate": 0.401,
    "noise_rate_low": 0.39,
    "noise_rate_high": 0.412,
    "noise_rate_true": 0.4,
    "noise_rate_error": 0.001,
}
REMATCHED = {
    "plan": 0.81,
    "chance": 0.0123,
    "row_max": 0.43,
    "column_max": 0.4,
    "row_max_same_mass": 0.75,
    "reachable": 0.62,
    "mass": 0.1,
}


def lines_of(table: Table, width: int = 80) -> list[str]:
    return [line for line in render(table, width).splitlines() if line and "──" not in line]


def test_divisions_are_shown_in_percent() -> None:
    heads, row = lines_of(shares_table({"6": DIVIDED}, DIVISION))
    names = "AUROC AP prec. recall F1 acc. ECE susp. noise true"
    assert heads.replace("95% int.", "").split() == names.split()
    numbers = "6 100.0 95.1 91.3 0.0 50.0 93.0 2.1 38.3 40.1 39.0–41.2 40.0"
    assert row.split() == numbers.split()
    assert ends(heads)[:9] == ends(row)[:9]
    assert ends(heads)[-1] == ends(row)[-1]


def test_what_a_division_lacks_is_left_out_and_never_zero() -> None:
    poor = {"accuracy": 0.6, "suspected": 0.0, "noise_rate_true": 0.4}
    heads, row = lines_of(shares_table({"6": poor}, DIVISION))
    assert heads.split() == ["acc.", "susp.", "true"]
    assert row.split() == ["6", "60.0", "0.0", "40.0"]
    heads, _, second = lines_of(shares_table({"6": DIVIDED, "7": poor}, DIVISION))
    assert second.split() == ["7", "60.0", "0.0", "40.0"]
    for name, number in (("acc.", "60.0"), ("susp.", "0.0"), ("true", "40.0")):
        assert heads.index(name) + len(name) == second.index(f" {number}") + 1 + len(number)


def test_half_an_interval_is_none() -> None:
    heads, _ = lines_of(shares_table({"6": {"noise_rate": 0.4, "noise_rate_high": 0.5}}, DIVISION))
    assert heads.split() == ["noise"]


def test_rematching_is_shown_beside_simpler_rules() -> None:
    heads, row = lines_of(shares_table({"6": REMATCHED, "7": {}}, REMATCH))[:2]
    assert heads.split() == [
        "plan",
        "chance",
        "row",
        "max",
        "same",
        "mass",
        "column",
        "max",
        "reachable",
        "mass",
    ]
    assert row.split() == ["6", "81.0", "1.2", "43.0", "75.0", "40.0", "62.0", "10.0"]
    _, second = lines_of(shares_table({"6": REMATCHED, "7": {"plan": 0.0}}, REMATCH))[1:]
    assert second.split() == ["7", "0.0"]
    assert lines_of(shares_table({"6": {}}, REMATCH))[-1] == "6"


@pytest.mark.parametrize(
    "table", [shares_table({"epoch 12": DIVIDED}, DIVISION), shares_table({"epoch 12": REMATCHED}, REMATCH)]
)
def test_tables_of_findings_fit_a_terminal_and_keep_their_numbers(table: Table) -> None:
    assert all(len(line) <= 80 for line in render(table, 80).splitlines())
    assert "…" not in render(table, 60)


def test_shares_are_not_read_as_markup() -> None:
    assert "[red]x" in render(shares_table({"[red]x": DIVIDED}, DIVISION))


MAPS = {"map": 50.06, "map_i2t": 48.0, "map_t2i": 100.0, "scopes": [1, 5]}
MAPS_AT = {f"{key}_at_{r}": float(r) for key in ("map", "map_i2t", "map_t2i") for r in (5, 50)}


def test_mean_average_precision_both_ways_and_at_lengths() -> None:
    above, heads, row = lines_of(measures_table({"dev": {**MAPS, **MAPS_AT}}))
    assert above.split() == ["image", "to", "text", "text", "to", "image", "mean"]
    assert heads.split() == ["mAP", "@5", "@50"] * 3
    assert row.split() == ["dev", "48.0", "5.0", "50.0", "100.0", "5.0", "50.0", "50.1", "5.0", "50.0"]
    assert ends(heads) == ends(row)


def test_lengths_that_a_row_lacks_stay_empty() -> None:
    _, heads, first, second = lines_of(measures_table({"a": MAPS, "b": {**MAPS, **MAPS_AT}}))
    assert first.split() == ["a", "48.0", "100.0", "50.1"]
    for name in ("48.0", "100.0", "50.1"):
        assert first.index(name) == second.index(name)
    assert ends(heads) == ends(second)
    _, heads, row = lines_of(measures_table({"a": MAPS}), 60)
    assert heads.split() == ["mAP", "mAP", "mAP"]
    assert ends(heads) == ends(row)
    with pytest.raises(ValueError, match="'a' has no measure 'map_i2t'"):
        measures_table({"a": {"map": 1.0}})


def test_corrections_are_shown_in_percent() -> None:
    found = {
        "given_accuracy": 0.6,
        "corrected_accuracy": 0.754,
        "changed": 0.0,
        "auroc": 0.99,
        "wrong_pairs": 1,
    }
    heads, row = lines_of(shares_table({"train": found}, CORRECTION))
    assert heads.split() == ["given", "right", "corrected", "right", "changed", "AUROC"]
    assert row.split() == ["train", "60.0", "75.4", "0.0", "99.0"]
    names = ("given_accuracy", "corrected_accuracy", "changed", "repaired", "broken", "auroc")
    everything = dict.fromkeys((*names, "average_precision", "calibration_error"), 1.0)
    text = render(shares_table({"best epoch": everything}, CORRECTION), 80)
    assert "…" not in text
    assert all(name in text for name in ("repaired", "broken", "AP", "ECE"))
