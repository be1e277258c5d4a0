"""Lazy exports for packages: a public name is imported at its first use (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attach(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package that imports its names on demand.

    Repeat the names under ``typing.TYPE_CHECKING``, so that editors and type checkers see them::

        if TYPE_CHECKING:
            from robustcmr.transport.exact import exact_plan as exact_plan

        __getattr__, __dir__, __all__ = attach(__name__, {"exact": "exact_plan"})

    Args:
        package: ``__name__`` of the package.
        exports: module, relative to the package -> the public names it defines, separated by spaces.

    Raises:
        ValueError: a public name is also the name of its module; importing the module would replace it.
    """
    modules = {name: module for module, names in exports.items() for name in names.split()}
    for name, module in modules.items():
        if name == module:
            raise ValueError(
                f"{package} exports {name!r} from a module of that name, which would hide it once imported; "
                "rename one of them"
            )

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)  # later uses do not come here
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return load, names, sorted(modules)
