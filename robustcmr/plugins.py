"""Matchers, methods and data sets by name; built-in ones are found like those of third parties.

A class is found by entry point (``robustcmr.matchers``, ``robustcmr.methods``, ``robustcmr.datasets``), by
the ``register`` decorator, or directly as ``package.module:Class``. The last imports any module, so a name of
that form in a file needs consent first: :mod:`robustcmr.config.trust`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from robustcmr.errors import PluginError
from robustcmr.options import Options

C = TypeVar("C", bound=type)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return a suggestion such as ``; did you mean 'omit'?``, or an empty text if no name is similar."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


class Registry:
    """The classes of one kind, by name.

    Args:
        kind: name of the classes in messages, such as ``matcher``.
        group: their entry-point group.
        base: ``package.module:Class`` that each must derive from; imported when a class is loaded.
    """

    def __init__(self, kind: str, group: str, base: str) -> None:
        self.kind = kind
        self.group = group
        self._base = base
        self._registered: dict[str, type] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Return a class decorator that registers a class under ``name`` in this process.

        Raises:
            PluginError: the name is taken by another class.
        """

        def announce(cls: C) -> C:
            place = _place(cls)
            for taken in self._offers(name):
                if taken != place:
                    raise PluginError(
                        f"{self.kind} '{name}' is offered twice, by {taken} and {place}; rename one of them"
                    )
            self._registered[name] = cls
            return cls

        return announce

    def names(self) -> list[str]:
        """Return all known names, sorted, without importing them."""
        announced = importlib.metadata.entry_points(group=self.group)
        return sorted({*self._registered, *(point.name for point in announced)})

    def announced(self, name: str) -> str | None:
        """Return the ``package.module:Class`` of a name that one package announces, without importing it."""
        offers = self._offers(name)
        return next(iter(offers)) if len(offers) == 1 and name not in self._registered else None

    def is_place(self, name: str) -> bool:
        """Return whether a name is a ``package.module:Class`` of another package, and no announced name."""
        own = name.startswith(f"{__name__.partition('.')[0]}.")  # such as the method of converted runs
        return ":" in name and not own and not self._offers(name)

    def load(self, name: str, folders: Sequence[Path] | None = None) -> type:
        """Return the class called ``name``, or at ``package.module:Class``.

        Args:
            name: an announced name, or the place of a class.
            folders: where a module that is not installed is searched; the current folder if None.

        Raises:
            PluginError: the name is unknown (with the nearest known ones) or offered twice, its module cannot
                be imported (with the reason), or it is not a complete class of this kind.
        """
        offers = self._offers(name)
        if len(offers) > 1:
            raise PluginError(
                f"{self.kind} '{name}' is offered twice, by {' and '.join(offers)}; "
                "uninstall or rename one of them"
            )
        if offers:
            ((place, point),) = offers.items()
            cls = self._registered.get(name) or self._import(name, place, point)
        elif ":" in name:
            folders = [Path.cwd()] if folders is None else folders
            sys.path.extend(str(folder) for folder in folders if str(folder) not in sys.path)
            cls = self._import(name, name, None, folders)
        else:
            names = self.names()
            known = ", ".join(names) or "none; is robustcmr installed?"
            raise PluginError(f"unknown {self.kind} '{name}'{did_you_mean(name, names)} (known: {known})")
        self._check(name, cls)
        return cls

    def _check(self, name: str, cls: type) -> None:
        base = self._import(self._base, self._base, None)
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        config = getattr(cls, "Config", None)
        if not issubclass(cls, base):
            problem = f"is {cls.__module__}.{cls.__qualname__}, not a {self._base}"
        elif missing:
            problem = f"leaves out {', '.join(missing)}; {self._base} asks for it"
        elif not (isinstance(config, type) and issubclass(config, Options)):
            problem = "has no Config class; give it one derived from robustcmr.options.Options"
        elif "name" in config.model_fields:
            problem = f"has an option called 'name', which chooses the {self.kind}; rename it"
        else:
            return
        raise PluginError(f"{self.kind} '{name}' {problem}")

    def _offers(self, name: str) -> dict[str, EntryPoint | None]:
        """Places that offer a name, each once: the registered class first, then entry points."""
        offers: dict[str, EntryPoint | None] = {}
        if name in self._registered:
            offers[_place(self._registered[name])] = None
        for point in importlib.metadata.entry_points(group=self.group):
            if point.name == name:
                offers.setdefault(point.value, point)
        return offers

    def _import(self, name: str, place: str, point: EntryPoint | None, folders: Sequence[Path] = ()) -> type:
        module_name, _, attribute = place.partition(":")
        try:
            found = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as error:  # any exception of a third party's module is the reason to report
            missing = _missing_package(error, module_name, point, folders)
            reason = missing or f"{type(error).__name__}: {error}"
            raise PluginError(f"{self.kind} '{name}' cannot be loaded from {place}: {reason}") from error
        if not isinstance(found, type):
            raise PluginError(f"{self.kind} '{name}' at {place} is not a class")
        return found


def _place(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _missing_package(
    error: Exception, module_name: str, point: EntryPoint | None, folders: Sequence[Path]
) -> str | None:
    """The package to install where one is missing; None for any other reason."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    missing = error.name.partition(".")[0]
    if missing == module_name.partition(".")[0]:
        if not folders:
            return f"there is no module {error.name}; install the package that announces it again"
        return (
            f"there is no module {error.name}, neither installed nor in {', '.join(map(str, folders))}; name "
            "its folder with PYTHONPATH=/path/to/it"
        )
    distribution = None if point is None else point.dist
    if distribution is not None:
        for line in distribution.requires or []:
            requirement = Requirement(line)
            extras = re.findall(r"extra == .([\w.-]+)", str(requirement.marker))
            if canonicalize_name(requirement.name) == canonicalize_name(missing) and extras:
                return (
                    f"it needs the package {missing}, which comes with "
                    f"pip install '{distribution.name}[{extras[0]}]'"
                )
    return f"it needs the package {missing}, which is not installed"


matchers = Registry("matcher", "robustcmr.matchers", "robustcmr.matchers.base:Matcher")
methods = Registry("method", "robustcmr.methods", "robustcmr.methods.base:Method")
datasets = Registry("data set", "robustcmr.datasets", "robustcmr.data.base:DataSet")

BY_SECTION: Mapping[str, Registry] = MappingProxyType(
    {"data": datasets, "matcher": matchers, "method": methods}
)
"""Sections of a configuration that choose a class. The data comes first: its track sets the defaults of the
others."""


def home(place: str) -> Path | None:
    """Return the folder in which an imported ``package.module:Class`` was found; None if it has no file."""
    top = sys.modules.get(place.partition(":")[0].partition(".")[0])
    folders = [Path(folder).parent for folder in getattr(top, "__path__", ())]
    file = getattr(top, "__file__", None)
    return folders[0] if folders else None if file is None else Path(file).parent
