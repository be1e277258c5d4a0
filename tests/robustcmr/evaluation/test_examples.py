from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["mean_average_precision", "recall"])
def test_examples_in_docstrings_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"robustcmr.evaluation.{name}"))
    assert (found.failed, found.attempted > 0) == (0, True)
