"""Finding matchers, methods and data sets by name; built-ins come through the same door as third parties.

A class is found by entry point (``robustcmr.matchers``, ``robustcmr.methods``, ``robustcmr.datasets``), by
the ``register`` decorator, or directly as ``package.module:Class``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable
from typing import TypeVar

from robustcmr.errors import PluginError
from robustcmr.options import Options

C = TypeVar("C", bound=type)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A suggestion such as ``; did you mean 'omit'?``, or an empty text when nothing is near."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


class Registry:
    """The classes of one kind, by name.

    Args:
        kind: what the classes are called in messages, such as ``matcher``.
        group: the entry-point group they are announced under.
        base: ``package.module:Class`` that each must derive from; imported only when a class is loaded.
    """

    def __init__(self, kind: str, group: str, base: str) -> None:
        self.kind = kind
        self.group = group
        self._base = base
        self._registered: dict[str, type] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Class decorator that makes a class known under ``name`` in this process.

        Raises:
            PluginError: the name is taken by another class.
        """

        def announce(cls: C) -> C:
            place = f"{cls.__module__}:{cls.__qualname__}"
            taken = self._places().get(name, place)
            if taken != place:
                raise PluginError(
                    f"{self.kind} '{name}' is offered twice, by {taken} and {place}; rename one of them"
                )
            self._registered[name] = cls
            return cls

        return announce

    def names(self) -> list[str]:
        """All known names, sorted; nothing is imported."""
        return sorted(self._places())

    def load(self, name: str) -> type:
        """The class called ``name``, or at ``package.module:Class``.

        Raises:
            PluginError: the name is unknown (with the nearest known ones) or offered twice, its module cannot
                be imported (with the reason), or it is not a complete class of this kind.
        """
        places = self._places()
        if ":" not in name and name not in places:
            known = ", ".join(sorted(places)) or "none; is robustcmr installed?"
            raise PluginError(f"unknown {self.kind} '{name}'{did_you_mean(name, places)} (known: {known})")
        cls = self._registered.get(name) or self._import(name, places.get(name, name))
        self._check(name, cls)
        return cls

    def _check(self, name: str, cls: type) -> None:
        base = self._import(self._base, self._base)
        if not issubclass(cls, base):
            raise PluginError(
                f"{self.kind} '{name}' is {cls.__module__}.{cls.__qualname__}, not a {self._base}"
            )
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise PluginError(
                f"{self.kind} '{name}' leaves out {', '.join(missing)}; {self._base} asks for it"
            )
        config = getattr(cls, "Config", None)
        if not (isinstance(config, type) and issubclass(config, Options)):
            raise PluginError(
                f"{self.kind} '{name}' has no Config class; "
                "give it one derived from robustcmr.options.Options"
            )
        if "name" in config.model_fields:
            raise PluginError(
                f"{self.kind} '{name}' has an option called 'name', which chooses the {self.kind}; rename it"
            )

    def _places(self) -> dict[str, str]:
        places = {name: f"{cls.__module__}:{cls.__qualname__}" for name, cls in self._registered.items()}
        for point in importlib.metadata.entry_points(group=self.group):
            taken = places.setdefault(point.name, point.value)
            if taken != point.value:
                raise PluginError(
                    f"{self.kind} '{point.name}' is offered twice, by {taken} and {point.value}; "
                    "uninstall or rename one of them"
                )
        return places

    def _import(self, name: str, place: str) -> type:
        module_name, _, attribute = place.partition(":")
        try:
            found = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as error:  # whatever a third party's module raises is the reason to report
            raise PluginError(
                f"{self.kind} '{name}' cannot be loaded from {place}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(found, type):
            raise PluginError(f"{self.kind} '{name}' at {place} is not a class")
        return found


matchers = Registry("matcher", "robustcmr.matchers", "robustcmr.matchers.base:Matcher")
methods = Registry("method", "robustcmr.methods", "robustcmr.methods.base:Method")
datasets = Registry("data set", "robustcmr.datasets", "robustcmr.data.base:PairsData")
