"""Lazy exports for packages: a public name is imported at its first use (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attach(package: str, exports: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package that imports its public names on demand.

    Repeat the names under ``typing.TYPE_CHECKING`` and in ``__all__``, so that editors and type checkers
    see them::

        if TYPE_CHECKING:
            from robustcmr.transport.exact import exact_plan

        __all__ = ["exact_plan"]
        __getattr__, __dir__ = attach(__name__, {"exact_plan": "exact"})

    Args:
        package: ``__name__`` of the package.
        exports: public name -> module that defines it, relative to the package, such as ``"exact"``.

    Raises:
        ValueError: a public name is also the name of its module; importing the module would replace it.
    """
    for name, module in exports.items():
        if name == module:
            raise ValueError(
                f"{package} exports {name!r} from a module of that name, which would hide it once imported; "
                "rename one of them"
            )

    def load(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{exports[name]}"), name)
        setattr(sys.modules[package], name, value)  # later uses do not come here
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *exports})

    return load, names
