"""Whether a method keeps the contract of its track: ``Method`` or ``LabelMethod``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from robustcmr import plugins
from robustcmr.errors import ConfigError
from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.testing import label_method_rules, method_memory, method_rules
from robustcmr.testing.label_samples import SampleLabels
from robustcmr.testing.report import (
    Check,
    ConformanceError,
    Report,
    class_of,
    described,
    options_of,
    run_checks,
)
from robustcmr.testing.samples import Sample, SamplePairs
from robustcmr.testing.trial import MethodCase

METHOD_CHECKS: Mapping[str, Check[MethodCase]] = MappingProxyType(
    {
        "builds": method_rules.builds,
        "auxiliary": method_rules.auxiliary,
        "parameter_groups": method_rules.parameter_groups,
        "plans": method_rules.plans,
        "steps": method_rules.steps,
        "metrics": method_rules.metrics,
        "learning": method_rules.learning,
        "small_batches": method_rules.small_batches,
        "same_image": method_rules.same_image,
        "modes": method_memory.modes,
        "beliefs": method_memory.beliefs,
        "rematches": method_memory.rematches,
        "repeatability": method_memory.repeatability,
        "resuming": method_memory.resuming,
    }
)
"""The checks of a method for wrong pairs by name; the docstring of each is the rule it keeps."""

LABEL_METHOD_CHECKS: Mapping[str, Check[MethodCase]] = MappingProxyType(
    {
        "builds": method_rules.builds,
        "auxiliary": method_rules.auxiliary,
        "parameter_groups": method_rules.parameter_groups,
        "plans": method_rules.plans,
        "steps": method_rules.steps,
        "metrics": method_rules.metrics,
        "learning": label_method_rules.learning,
        "small_batches": method_rules.small_batches,
        "one_class": label_method_rules.one_class,
        "two_labels": label_method_rules.two_labels,
        "modes": method_memory.modes,
        "beliefs": label_method_rules.beliefs,
        "repeatability": method_memory.repeatability,
        "resuming": method_memory.resuming,
    }
)
"""The checks of a method for wrong labels by name."""

_TRACKS: Mapping[str, tuple[Mapping[str, Check[MethodCase]], Callable[[], Sample]]] = MappingProxyType(
    {"pairs": (METHOD_CHECKS, SamplePairs), "labels": (LABEL_METHOD_CHECKS, SampleLabels)}
)


def check_method(
    cls: type[Method] | str,
    config: Options | Mapping[str, Any] | None = None,
    *,
    epochs: int = 6,
    batch_size: int = 16,
    skip: Collection[str] = (),
) -> Report:
    """Train a method on a hundred easy pairs, a quarter of them wrong, and say every rule it breaks.

    Wrong are images or class labels, as the method's track says. It is trained as ``robustcmr train`` does,
    on the CPU, with the smallest matcher there is. That a method sees no truth needs no check: it is handed
    none. One line of a test does it::

        def test_my_method():
            check_method(MyMethod, {"warmup_epochs": 1})

    Args:
        cls: a method's class, or a name it is registered under.
        config: its options, as its ``Config`` or as a mapping; None takes the defaults.
        epochs: epochs of a trial, at least 1; enough to go past a warm-up, or give one that is short.
        batch_size: pairs a batch, 2 to 50.
        skip: names of checks to leave out, of :data:`METHOD_CHECKS` or :data:`LABEL_METHOD_CHECKS`.

    Returns:
        What was checked.

    Raises:
        ConformanceError: rules are broken; the message has a sentence for each.
        ConfigError: options or sizes do not fit, or ``skip`` names no check.
        PluginError: the name is unknown or its module cannot be imported.
    """
    if epochs < 1 or not 2 <= batch_size <= 50:
        raise ConfigError(
            f"epochs is {epochs} and batch_size {batch_size}; "
            "expected at least 1 epoch and 2 to 50 pairs a batch"
        )
    found = class_of(cls, plugins.methods, Method)
    subject = f"method {described(found)}"
    if found.track not in _TRACKS:
        raise ConformanceError(
            subject, {"builds": (f"its track is {found.track!r}, expected one of {', '.join(_TRACKS)}",)}
        )
    checks, sample = _TRACKS[found.track]
    case = MethodCase(found, options_of(found, config), epochs, batch_size, sample())
    return run_checks(subject, checks, case, skip, ("builds", "plans", "steps"))
