"""The examples in docstrings run, and every public function that makes, reads or compares noise has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import noise_injection

MODULES = sorted({module.name for module in pkgutil.iter_modules(noise_injection.__path__)} - {"__main__"})
WITHOUT = {
    "read_captions",
    "read_names",
    "read_noise_file",
    "save_noise",
    "save_label_noise",
    "verify_record",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"noise_injection.{name}")).failed == 0


def test_public_functions_have_an_example() -> None:
    functions = {name for name in noise_injection.__all__ if name.islower()} - WITHOUT - {"write_table"}
    assert {name for name in functions if ">>>" not in getattr(noise_injection, name).__doc__} == set()


def test_all_names_every_public_part() -> None:
    assert len(set(noise_injection.__all__)) == len(noise_injection.__all__)
    assert all(hasattr(noise_injection, name) for name in noise_injection.__all__)
