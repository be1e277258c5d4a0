"""Check that a matcher keeps the contract of :class:`robustcmr.matchers.base.Matcher`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from robustcmr import plugins
from robustcmr.errors import ConfigError
from robustcmr.matchers.base import Matcher
from robustcmr.options import Options
from robustcmr.testing import matcher_scores, matcher_state
from robustcmr.testing.matcher_case import MatcherCase
from robustcmr.testing.report import Check, Report, checks_of, class_of, described, options_of, run_checks
from robustcmr.testing.samples import sample_spec
from robustcmr.types import DataSpec, MatcherInputs

MATCHER_CHECKS: Mapping[str, Check[MatcherCase]] = checks_of(matcher_scores, matcher_state)
"""The checks of a matcher by name; the docstring of each states its rule."""


def check_matcher(
    cls: type[Matcher] | str,
    config: Options | Mapping[str, Any] | None = None,
    spec: DataSpec | None = None,
    *,
    skip: Collection[str] = (),
    tolerance: float = 1e-4,
    bf16_tolerance: float = 0.05,
    largest_score: float = 3.0,
) -> Report:
    """Try a matcher on small synthetic data and report every rule of the contract that it breaks.

    Nothing is downloaded, and no file is used but those that the matcher itself reads; pretrained weights are
    not loaded. Use it in a test::

        def test_my_matcher():
            check_matcher(MyMatcher, {"dim": 32})

    Args:
        cls: a matcher's class or registered name.
        config: its options, as its ``Config`` or as a mapping; None for the defaults.
        spec: description of the data; None for region features and words, see :func:`sample_spec`.
            A matcher that reads pictures, or captions by a tokenizer, needs one.
        skip: names of checks to leave out, of :data:`MATCHER_CHECKS`.
        tolerance: largest difference of equal scores, relative to scores above 1.
        bf16_tolerance: the same between bfloat16 and float32.
        largest_score: bound on the scores of ordinary data.

    Raises:
        ConformanceError: rules are broken; the message has a sentence for each.
        ConfigError: options do not fit, a spec is needed, or ``skip`` names no check.
        PluginError: the name is unknown or its module cannot be imported.
    """
    found = class_of(cls, plugins.matchers, Matcher)
    options = options_of(found, config)
    if spec is None:
        reads = found.inputs(options)
        if isinstance(reads, MatcherInputs) and reads != MatcherInputs():
            raise ConfigError(
                f"{described(found)} reads pictures or captions its own way ({reads}); give spec= with the "
                "size of the pictures and the vocabulary of the tokenizer"
            )
        spec = sample_spec()
    case = MatcherCase(found, options, spec, tolerance, bf16_tolerance, largest_score)
    return run_checks(f"matcher {described(found)}", MATCHER_CHECKS, case, skip, ("builds", "shapes"))
