"""Lazy exports: loaded at the first use, and only then."""

import subprocess
import sys

import pytest

from robustcmr.lazy import attach

LAZY = ("transport", "data", "matchers", "evaluation", "testing", "conversion")


def test_lazy_packages_offer_their_names_without_torch() -> None:
    program = f"""
import importlib, sys
packages = [importlib.import_module("robustcmr." + name) for name in {LAZY}]
assert "torch" not in sys.modules, "a package itself loads torch"
for package in packages:
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None, name
    assert set(package.__all__) <= set(vars(package)), "a name is looked up twice"
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import robustcmr.transport as package

    with pytest.raises(AttributeError, match=r"module 'robustcmr.transport' has no attribute 'best_plan'"):
        _ = package.best_plan  # type: ignore[attr-defined]


def test_a_name_that_its_module_would_hide_is_refused() -> None:
    with pytest.raises(ValueError, match="rename one of them"):
        attach("robustcmr.selection", {"divide": "divide"})
