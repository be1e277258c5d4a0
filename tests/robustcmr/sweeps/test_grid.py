"""The cells of a grid, against a plain loop, and all that can be wrong with it."""

from itertools import product

import pytest

from robustcmr.sweeps.grid import cell_name, grid_cells
from robustcmr.sweeps.options import sweep_options


def cells(problems=None, **tree):
    return grid_cells(sweep_options({"name": "x", **tree}, "x"), [] if problems is None else problems)


def problems(**tree):
    found = []
    cells(found, **tree)
    return found


def test_every_combination_seed_by_seed():
    found = cells(grid={"noise.ratio": [0, 0.4], "method.name": ["hinge", "rce"]}, seeds=[3, 1])
    expected = [
        ({"noise.ratio": ratio, "method.name": method}, seed)
        for seed, ratio, method in product([3, 1], [0, 0.4], ["hinge", "rce"])
    ]
    assert [(cell.values, cell.seed) for cell in found] == expected
    assert [(cell.choices, cell.seed) for cell in found] == expected


def test_no_grid_is_the_base_once_a_seed():
    assert [(cell.values, cell.seed) for cell in cells(seeds=[0, 1])] == [({}, 0), ({}, 1)]


def test_choices_of_several_keys():
    grid = {
        "recipe": [
            {"label": "ours", "method.name": "robust"},
            {"label": "released", "method.name": "l2rm", "method.epsilon": 0.07},
        ]
    }
    found = cells(grid=grid)
    assert [cell.choices for cell in found] == [{"recipe": "ours"}, {"recipe": "released"}]
    assert found[1].values == {"method.name": "l2rm", "method.epsilon": 0.07}
    assert [cell_name(cell) for cell in found] == ["ours-seed0", "released-seed0"]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ([{"method.name": "rce", "noise.ratio": 0}], {("hinge", 0), ("hinge", 0.4), ("rce", 0.4)}),
        ([{"noise.ratio": [0, 0.4], "method.name": "rce"}], {("hinge", 0), ("hinge", 0.4)}),
        ([{"method.name": "rce"}, {"noise.ratio": 0}], {("hinge", 0.4)}),
    ],
)
def test_exclude(exclude, left):
    found = cells(grid={"noise.ratio": [0, 0.4], "method.name": ["hinge", "rce"]}, exclude=exclude)
    assert {(cell.values["method.name"], cell.values["noise.ratio"]) for cell in found} == left


def test_exclude_by_seed_and_by_a_key_within_a_choice():
    grid = {"recipe": [{"label": "a", "method.name": "rce"}, {"label": "b", "method.name": "hinge"}]}
    found = cells(grid=grid, seeds=[0, 1], exclude=[{"method.name": "rce", "seed": 1}])
    assert [(cell.choices["recipe"], cell.seed) for cell in found] == [("a", 0), ("b", 0), ("b", 1)]
    found = cells(grid=grid, exclude=[{"recipe": "a"}])
    assert [cell.choices["recipe"] for cell in found] == ["b"]


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"grid": {"noise.ratio": []}}, "grid.noise.ratio: the list is empty"),
        ({"seeds": []}, "seeds: the list is empty"),
        ({"seeds": [1, 1]}, "seeds: 1 is given twice"),
        ({"grid": {"noise.ratio": [0.4, 0.4]}}, "grid.noise.ratio: 0.4 is given twice"),
        ({"grid": {"seed": [0, 1]}}, "grid.seed: it sets the seed"),
        ({"grid": {"a": [{"method.name": "rce"}]}}, "grid.a: choice 1 sets several keys and has no label"),
        ({"grid": {"a": [{"label": "x"}]}}, "grid.a: choice 1 sets nothing"),
        ({"grid": {"a": [{"label": "x", "b": 1}, 2]}}, "grid.a: some choices are mappings and some are not"),
        (
            {"grid": {"a": [{"label": "x", "b": 1}, {"label": "x", "b": 2}]}},
            'grid.a: "x" is given twice',
        ),
        (
            {"grid": {"method": ["rce"], "method.name": ["hinge"]}},
            "grid.method sets method and grid.method.name sets method.name; one of them would be lost",
        ),
        ({"grid": {"noise.ratio": [0]}, "exclude": [{"noise.rato": 0}]}, "did you mean 'noise.ratio'?"),
        (
            {"grid": {"noise.ratio": [0]}, "exclude": [{"noise.ratio": 0.3}]},
            "exclude 1: no combination matches",
        ),
        (
            {"grid": {"noise.ratio": [0]}, "exclude": [{"noise.ratio": 0}]},
            "leaves none of the 1 combinations",
        ),
        ({"exclude": [{}]}, "exclude 1: it is empty"),
    ],
)
def test_mistakes(tree, sentence):
    found = problems(**tree)
    assert len(found) == 1
    assert sentence in found[0]


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("method.name", "l2rm", "l2rm"),
        ("method.name", "package.module:Class", "package.module-Class"),
        ("noise.ratio", 0.4, "ratio0.4"),
        ("optim.lr", 1e-4, "lr0.0001"),
        ("method.legacy", True, "legacy-true"),
        ("optim.milestones", [3, 5], "milestones-3-5"),
        ("training.x", "a" * 99, "a" * 40),
        ("optim.clip", None, "clip-null"),
    ],
)
def test_names_say_what_a_trial_is(key, value, part):
    (cell,) = cells(grid={key: [value]}, seeds=[7])
    assert cell_name(cell) == f"{part}-seed7"
