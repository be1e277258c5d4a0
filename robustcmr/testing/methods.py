"""Check that a method keeps the contract of its track: ``Method`` or ``LabelMethod``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from robustcmr import plugins
from robustcmr.errors import ConfigError
from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.testing import label_method_rules, method_rules, pair_method_rules
from robustcmr.testing.report import (
    Check,
    ConformanceError,
    Report,
    checks_of,
    class_of,
    described,
    options_of,
    run_checks,
)
from robustcmr.testing.samples import Sample, SampleLabels, SamplePairs
from robustcmr.testing.trial import MethodCase

METHOD_CHECKS: Mapping[str, Check[MethodCase]] = checks_of(method_rules, pair_method_rules)
"""The checks of a method for noisy correspondence by name; the docstring of each states its rule."""

LABEL_METHOD_CHECKS: Mapping[str, Check[MethodCase]] = checks_of(method_rules, label_method_rules)
"""The checks of a method for noisy labels by name."""

_TRACKS: Mapping[str, tuple[Mapping[str, Check[MethodCase]], Callable[[], Sample]]] = {
    "pairs": (METHOD_CHECKS, SamplePairs),
    "labels": (LABEL_METHOD_CHECKS, SampleLabels),
}


def check_method(
    cls: type[Method] | str,
    config: Options | Mapping[str, Any] | None = None,
    *,
    epochs: int = 6,
    batch_size: int = 16,
    skip: Collection[str] = (),
) -> Report:
    """Train a method on a hundred easy pairs and report every rule of the contract that it breaks.

    A quarter of the pairs have wrong images, or wrong labels on the labels track. Training is that of
    ``robustcmr train``, on the CPU, with a minimal matcher. A method cannot use the truth, as it never
    receives it. Use it in a test::

        def test_my_method():
            check_method(MyMethod, {"warmup_epochs": 1})

    Args:
        cls: a method's class or registered name.
        config: its options, as its ``Config`` or as a mapping; None for the defaults.
        epochs: epochs of a trial, at least 1; enough to pass the warm-up, or configure a short one.
        batch_size: pairs a batch, 2 to 50.
        skip: names of checks to leave out, of :data:`METHOD_CHECKS` or :data:`LABEL_METHOD_CHECKS`.

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
