"""Running named checks on something and saying everything that is wrong with it at once."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from robustcmr.errors import ConfigError
from robustcmr.options import Options
from robustcmr.plugins import Registry, did_you_mean
from robustcmr.training.seeds import capture_generators, restore_generators, seed_everything

C = TypeVar("C")

Check = Callable[[C], Iterable[str]]
"""Yields what was done and what came out, for each way its rule is broken; its own docstring is the rule."""


class ConformanceError(AssertionError):
    """A contract is broken; the message has a line for each broken rule, opened by the name of its check.

    Attributes:
        broken: the sentences by name of check.
    """

    def __init__(self, subject: str, broken: Mapping[str, tuple[str, ...]], left_out: str = "") -> None:
        self.subject = subject
        self.broken = MappingProxyType(dict(broken))
        lines = [f"- {name}: {sentence}" for name, found in broken.items() for sentence in found]
        rules = "1 rule" if len(lines) == 1 else f"{len(lines)} rules"
        super().__init__("\n".join([f"{subject} breaks {rules}:", *lines, *([left_out] if left_out else [])]))


class NotApplicable(Exception):  # noqa: N818  # no error: the check has nothing to look at
    """Raised by a check that has nothing to look at; its message is the reason."""


@dataclass(frozen=True)
class Report:
    """What was checked where no rule was found broken.

    Attributes:
        subject: what was checked.
        passed: names of the checks that passed.
        not_applicable: why a check had nothing to look at, by its name.
        skipped: names of the checks that were left out as asked.
    """

    subject: str
    passed: tuple[str, ...]
    not_applicable: Mapping[str, str]
    skipped: tuple[str, ...]


def run_checks(
    subject: str,
    checks: Mapping[str, Check[C]],
    case: C,
    skip: Collection[str] = (),
    foundations: Collection[str] = (),
) -> Report:
    """Run all checks, each with freshly seeded generators, and raise once with everything found.

    The global generators are afterwards as they were before.

    Args:
        subject: what is checked, for the message.
        checks: checks by name, in the order to run them.
        case: what each check is handed.
        skip: names of checks to leave out.
        foundations: names of checks without which the others mean nothing; they end the run when broken.

    Raises:
        ConformanceError: a rule is broken.
        ConfigError: ``skip`` names a check that does not exist.
    """
    for name in skip:
        if name not in checks:
            raise ConfigError(f"there is no check '{name}'{did_you_mean(name, checks)} ({', '.join(checks)})")
    passed: list[str] = []
    idle: dict[str, str] = {}
    broken: dict[str, tuple[str, ...]] = {}
    cause: Exception | None = None
    left_out = ""
    generators = capture_generators()
    try:
        for name, check in checks.items():
            if name in skip:
                continue
            seed_everything(0)
            found: list[str] = []
            try:
                for what in check(case):
                    found.append(what)  # one by one, to keep what was found before an error
            except NotApplicable as reason:
                if not found:
                    idle[name] = str(reason)
                    continue
            except Exception as error:  # whatever foreign code raises is what is to be reported
                found.append(f"{_told(error)} was raised")
                cause = cause or error
            if found:
                broken[name] = tuple(f"{what}; {_rule(check)}" for what in found)
                if name in foundations:
                    left_out = f"(the checks after '{name}' were not run, as they rest on it)"
                    break
            else:
                passed.append(name)
    finally:
        restore_generators(generators)
    if broken:
        raise ConformanceError(subject, broken, left_out) from cause
    return Report(subject, tuple(passed), MappingProxyType(idle), tuple(skip))


def _told(error: Exception) -> str:
    """What was raised and where, such as ``ValueError: too long (matcher.py, line 7)``."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).strip().splitlines()
    said = f": {text[0]}" if text else ""
    return f"{type(error).__name__}{said} ({last.filename.rpartition('/')[2]}, line {last.lineno})"


def _rule(check: Check[Any]) -> str:
    """The first line of a check's docstring, as the contract to be named."""
    rule = (check.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return f"the contract says: {rule[0].lower()}{rule[1:]}"


def class_of(given: type | str, registry: Registry, base: type) -> type[Any]:
    """The class to check, found by name where it is given by name.

    Raises:
        PluginError: there is no such name, or what it stands for cannot be imported.
        ConformanceError: it is no complete class of this kind, or has no ``Config`` derived from ``Options``.
    """
    cls: type[Any] = registry.load(given) if isinstance(given, str) else given
    subject = f"{registry.kind} {described(cls)}"
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ConformanceError(
            subject, {"builds": (f"it does not derive from {base.__module__}.{base.__name__}",)}
        )
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise ConformanceError(
            subject, {"builds": (f"it leaves out {', '.join(missing)}, which the base class asks for",)}
        )
    config = getattr(cls, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Options)):
        raise ConformanceError(
            subject, {"builds": ("it has no Config class derived from robustcmr.options.Options",)}
        )
    return cls


def options_of(cls: type[Any], config: Options | Mapping[str, Any] | None) -> Options:
    """The options to check a class with.

    Args:
        cls: the class; its ``Config`` reads them.
        config: its ``Config``, a mapping of options, or None for the defaults.

    Raises:
        ConfigError: the options do not fit, or some without a default are missing.
    """
    if isinstance(config, Options):
        return config
    given = {} if config is None else dict(config)
    try:
        options: Options = cls.Config(**given)
    except ValueError as error:  # pydantic's own is one
        raise ConfigError(
            f"{described(cls)} cannot be checked with the options {given}: {error}; give config="
        ) from error
    return options


def some_of(names: list[str], most: int = 5) -> str:
    """The first few names, and that there are more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def described(cls: object) -> str:
    """Module and name of a class."""
    return f"{getattr(cls, '__module__', '?')}.{getattr(cls, '__qualname__', repr(cls))}"
