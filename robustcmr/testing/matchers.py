"""Whether a matcher keeps the contract of :class:`robustcmr.matchers.base.Matcher`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from robustcmr import plugins
from robustcmr.errors import ConfigError
from robustcmr.matchers.base import Matcher
from robustcmr.options import Options
from robustcmr.testing import matcher_scores, matcher_state
from robustcmr.testing.matcher_case import MatcherCase
from robustcmr.testing.report import Check, Report, class_of, described, options_of, run_checks
from robustcmr.testing.samples import sample_spec
from robustcmr.types import DataSpec, MatcherInputs

MATCHER_CHECKS: Mapping[str, Check[MatcherCase]] = MappingProxyType(
    {
        "builds": matcher_scores.builds,
        "inputs": matcher_scores.inputs,
        "shapes": matcher_scores.shapes,
        "forward": matcher_scores.forward,
        "scale": matcher_scores.scale,
        "input_padding": matcher_scores.input_padding,
        "padded_garbage": matcher_scores.padded_garbage,
        "fragment_padding": matcher_scores.fragment_padding,
        "order": matcher_scores.order,
        "independence": matcher_scores.independence,
        "blocks": matcher_scores.blocks,
        "extremes": matcher_scores.extremes,
        "bf16": matcher_scores.bf16,
        "gradients": matcher_state.gradients,
        "parameter_groups": matcher_state.parameter_groups,
        "saving": matcher_state.saving,
        "copying": matcher_state.copying,
        "repeatability": matcher_state.repeatability,
        "hidden_state": matcher_state.hidden_state,
        "evaluation_state": matcher_state.evaluation_state,
        "generators": matcher_state.generators,
        "inputs_untouched": matcher_state.inputs_untouched,
        "inference_mode": matcher_state.inference_mode,
    }
)
"""The checks of a matcher by name; the docstring of each is the rule it keeps."""


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
    """Try a matcher on small made-up data and say every rule of the contract that it breaks.

    Nothing is read, written or downloaded besides what the matcher itself reads; pretrained weights are not
    loaded. One line of a test does it::

        def test_my_matcher():
            check_matcher(MyMatcher, {"dim": 32})

    Args:
        cls: a matcher's class, or a name it is registered under.
        config: its options, as its ``Config`` or as a mapping; None takes the defaults.
        spec: what it is told of the data; None tells of region features and words, see :func:`sample_spec`.
            A matcher that reads pictures, or captions by a tokenizer, needs one.
        skip: names of checks to leave out, of :data:`MATCHER_CHECKS`.
        tolerance: largest difference of scores that count as equal, relative to scores above 1.
        bf16_tolerance: the same where bfloat16 is compared with float32.
        largest_score: scores of ordinary data must stay below it.

    Returns:
        What was checked.

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
