"""Lazy exports: loaded at the first use, and only then."""

import subprocess
import sys

import pytest

from robustcmr.lazy import attach


@pytest.mark.parametrize("package", ["robustcmr.transport"])
def test_a_lazy_package_offers_its_names_without_torch(package: str) -> None:
    program = f"""
import sys, {package} as package
assert "torch" not in sys.modules, "the package itself loads torch"
assert set(package.__all__) <= set(dir(package))
for name in package.__all__:
    assert callable(getattr(package, name)), name
assert "torch" in sys.modules
assert set(package.__all__) <= set(vars(package)), "a name is looked up twice"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import robustcmr.transport as package

    with pytest.raises(AttributeError, match=r"module 'robustcmr.transport' has no attribute 'best_plan'"):
        _ = package.best_plan  # type: ignore[attr-defined]


def test_a_name_that_its_module_would_hide_is_refused() -> None:
    with pytest.raises(ValueError, match="rename one of them"):
        attach("robustcmr.selection", {"divide": "divide"})
