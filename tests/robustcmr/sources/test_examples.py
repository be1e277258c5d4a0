"""Examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

from robustcmr import sources


def test_examples_give_what_they_show() -> None:
    tried = 0
    for found in pkgutil.iter_modules(sources.__path__):
        outcome = doctest.testmod(importlib.import_module(f"robustcmr.sources.{found.name}"))
        assert outcome.failed == 0, found.name
        tried += outcome.attempted
    assert tried > 5
