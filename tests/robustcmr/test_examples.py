"""Examples in docstrings run, and every public function of the formula rooms that should have one does."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

ROOMS = ("losses", "selection", "correction")
MODULES = [
    f"robustcmr.{room}.{found.name}"
    for room in ROOMS
    for found in pkgutil.iter_modules(importlib.import_module(f"robustcmr.{room}").__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.failed == 0


@pytest.mark.parametrize(
    "name",
    [
        *[f"losses.{name}" for name in importlib.import_module("robustcmr.losses").__all__],
        *["selection.divide_by_mixture", "selection.divide_by_reference", "selection.estimate_transitions"],
        *["correction.rematch", "correction.dummy_point_plan", "correction.label_targets"],
        *["selection.batch_hinge", "selection.batch_cross_entropy", "selection.at_noise_rate"],
        *["correction.allowed_cells", "correction.rematch_targets", "correction.nearest_candidates"],
        *["correction.rematch_whole_set", "correction.positional_loss", "correction.relation_plan"],
    ],
)
def test_losses_divisions_and_corrections_have_an_example(name):
    room, _, function = name.partition(".")
    if function == "fused_losses":
        return  # a switch, no loss
    assert ">>>" in getattr(importlib.import_module(f"robustcmr.{room}"), function).__doc__


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_there_and_load_no_torch_before_they_are_used(room):
    package = importlib.import_module(f"robustcmr.{room}")
    assert package.__all__ == sorted(package.__all__)
    assert all(getattr(package, name).__doc__ for name in package.__all__)
    code = f"import robustcmr.{room}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", MODULES)
def test_no_public_name_hides_a_module(name):
    package, _, last = name.rpartition(".")
    assert isinstance(
        getattr(importlib.import_module(package), last, importlib.import_module(name)), ModuleType
    )
