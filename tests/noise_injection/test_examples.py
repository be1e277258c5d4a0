"""Docstring examples run, and every public function but the plain file readers and writers has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import noise_injection

MODULES = sorted({module.name for module in pkgutil.iter_modules(noise_injection.__path__)} - {"__main__"})
FILE_IO = {"read_captions", "read_names", "read_noise_file", "save_noise", "save_label_noise", "write_table"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"noise_injection.{name}")).failed == 0


def test_public_functions_have_an_example() -> None:
    functions = {name for name in noise_injection.__all__ if name.islower()} - FILE_IO - {"verify_record"}
    assert {name for name in functions if ">>>" not in getattr(noise_injection, name).__doc__} == set()


def test_all_names_every_public_part() -> None:
    assert len(set(noise_injection.__all__)) == len(noise_injection.__all__)
    assert all(hasattr(noise_injection, name) for name in noise_injection.__all__)
