"""Run named checks and report everything that is wrong at once."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

from torch.nn import Parameter

from robustcmr.errors import ConfigError, some_of
from robustcmr.options import Options
from robustcmr.plugins import Registry, did_you_mean
from robustcmr.training.seeds import capture_generators, restore_generators, seed_everything

C = TypeVar("C")

Check = Callable[[C], Iterable[str]]
"""Yields a sentence for each way in which its rule is broken; its docstring states the rule."""


def checks_of(*modules: ModuleType) -> Mapping[str, Check[Any]]:
    """Return the checks of some modules, which are their public functions, in the order of definition."""
    return MappingProxyType(
        {
            name: value
            for module in modules
            for name, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
        }
    )


class ConformanceError(AssertionError):
    """A contract is broken; the message has a line for each broken rule, starting with the name of its check.

    Attributes:
        broken: the sentences by name of check.
    """

    def __init__(self, subject: str, broken: Mapping[str, tuple[str, ...]], left_out: str = "") -> None:
        self.subject = subject
        self.broken = MappingProxyType(dict(broken))
        lines = [f"- {name}: {sentence}" for name, found in broken.items() for sentence in found]
        rules = "1 rule" if len(lines) == 1 else f"{len(lines)} rules"
        super().__init__("\n".join([f"{subject} breaks {rules}:", *lines, *([left_out] if left_out else [])]))


class NotApplicable(Exception):  # noqa: N818  # not an error: the check has nothing to examine
    """Raised by a check that has nothing to examine; its message is the reason."""


@dataclass(frozen=True)
class Report:
    """Outcome of checks that found no broken rule.

    Attributes:
        subject: the class or data set that was checked.
        passed: names of the checks that passed.
        not_applicable: by name, the reason why a check had nothing to examine.
        skipped: names of the checks left out on request.
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
    """Run all checks, each with freshly seeded generators, and raise once with all findings.

    The global generators are restored afterwards.

    Args:
        subject: the name of the object, for the message.
        checks: checks by name, in the order to run them.
        case: the argument of each check.
        skip: names of checks to leave out.
        foundations: names of checks that the later ones rely on; the run ends when one of them fails.
    """
    for name in skip:
        if name not in checks:
            raise ConfigError(f"there is no check '{name}'{did_you_mean(name, checks)} ({', '.join(checks)})")
    passed, idle, broken = list[str](), dict[str, str](), dict[str, tuple[str, ...]]()
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
                for sentence in check(case):
                    found.append(sentence)  # one by one, to keep those before an error
            except NotApplicable as reason:
                if not found:
                    idle[name] = str(reason)
                    continue
            except Exception as error:  # whatever third-party code raises is to be reported
                found.append(f"{_where(error)} was raised")
                cause = cause or error
            if not found:
                passed.append(name)
                continue
            rule = (check.__doc__ or "").strip().splitlines()[0].rstrip(".")
            contract = f"the contract says: {rule[0].lower()}{rule[1:]}"
            broken[name] = tuple(f"{sentence}; {contract}" for sentence in found)
            if name in foundations:
                left_out = f"(the checks after '{name}' were not run, as they rely on it)"
                break
    finally:
        restore_generators(generators)
    if broken:
        raise ConformanceError(subject, broken, left_out) from cause
    return Report(subject, tuple(passed), MappingProxyType(idle), tuple(skip))


def _where(error: Exception) -> str:
    """Return the error and its place, such as ``ValueError: too long (matcher.py, line 7)``."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).strip().splitlines()
    reason = f": {text[0]}" if text else ""
    return f"{type(error).__name__}{reason} ({last.filename.rpartition('/')[2]}, line {last.lineno})"


def class_of(given: type | str, registry: Registry, base: type) -> type[Any]:
    """Return the class to check, looked up by name if a name is given.

    Raises:
        ConformanceError: it is not a complete subclass of ``base`` with a ``Config`` class of options.
    """
    cls: type[Any] = registry.load(given) if isinstance(given, str) else given
    problem, config = None, getattr(cls, "Config", None)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        problem = f"it does not derive from {base.__module__}.{base.__name__}"
    elif missing := sorted(getattr(cls, "__abstractmethods__", ())):
        problem = f"it leaves out {', '.join(missing)}, which the base class requires"
    elif not (isinstance(config, type) and issubclass(config, Options)):
        problem = "it has no Config class derived from robustcmr.options.Options"
    if problem is not None:
        raise ConformanceError(f"{registry.kind} {described(cls)}", {"builds": (problem,)})
    return cls


def options_of(cls: type[Any], config: Options | Mapping[str, Any] | None) -> Options:
    """Return the options to check a class with; None gives the defaults."""
    if isinstance(config, Options):
        return config
    given = {} if config is None else dict(config)
    try:
        options: Options = cls.Config(**given)
    except ValueError as error:  # pydantic's error is one
        raise ConfigError(
            f"{described(cls)} cannot be checked with the options {given}: {error}; give config="
        ) from error
    return options


def group_problems(
    groups: Iterable[Mapping[str, Any]], trainable: Mapping[str, Parameter], owner: str
) -> Iterator[str]:
    """Yield problems unless parameter groups hold every trainable parameter, by name, once."""
    names = {id(parameter): name for name, parameter in trainable.items()}
    counted = Counter(id(parameter) for group in groups for parameter in group["params"])
    left_out = [name for key, name in names.items() if not counted[key]]
    twice = [name for key, name in names.items() if counted[key] > 1]
    foreign = sum(key not in names for key in counted)
    if left_out:
        yield f"the groups leave out {some_of(left_out, 5)}"
    if twice:
        yield f"the groups hold {some_of(twice, 5)} more than once"
    if foreign:
        yield f"the groups hold {foreign} tensors that are not trainable parameters of {owner}"


def described(cls: object) -> str:
    """Return the module and name of a class."""
    return f"{getattr(cls, '__module__', '?')}.{getattr(cls, '__qualname__', repr(cls))}"


def array_of(value: object) -> str:
    """Return the type and shape of an array, such as ``int32 of shape (100,)``."""
    return f"{getattr(value, 'dtype', type(value).__name__)} of shape {getattr(value, 'shape', '?')}"
