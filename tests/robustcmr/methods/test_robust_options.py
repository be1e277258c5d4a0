"""Options of ``robust``: ranges, combinations that do not fit, and option names of version 0.1."""

import json

import pytest
import yaml

from robustcmr.config.resolve import resolve
from robustcmr.errors import ConfigError


def refused(name="robust", **options):
    """The whole message about a run with these options."""
    with pytest.raises(ConfigError) as caught:
        resolve({"method": {"name": name, **options}})
    return str(caught.value)


@pytest.mark.parametrize(
    "options", [{}, {"teacher_decay": 0.9, "rematch_weight": 0.7}, {"groups": "split"}], ids=str
)
def test_saved_and_read_again_means_the_same(options):
    config = resolve({"method": {"name": "robust", **options}})
    first = config.to_dict()
    assert resolve(json.loads(json.dumps(first))).to_dict() == first
    again = resolve(yaml.safe_load(config.to_yaml()))
    assert again.method.options == config.method.options
    assert again.to_yaml() == config.to_yaml()


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"teacher_decay": 1.0}, "a number in (0, 1) or null"),
        ({"threshold": 1}, "a number in (0, 1)"),
        ({"most_wrong": 1.1}, "a number in (0, 1]"),
        ({"temperature": 0}, "a number above 0"),
        ({"warmup_epochs": -1}, "a whole number of at least 0"),
        ({"reverse_floor": 0}, "a number in (0, 1)"),
        ({"split_above": 0}, "a number in (0, 1]"),
        ({"rematch_weight": float("nan")}, "a number of at least 0"),
        ({"groups": "both"}, "auto, mixed or split"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_out_of_range(bad, expected):
    ((key, value),) = bad.items()
    said = refused(**bad)
    assert said.startswith(f"method.{key}: got {value!r}, expected {expected}")
    assert "\n" not in said


def test_unknown_options_are_refused():
    assert "method.rho: unknown key" in refused(rho=0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("robust", {"streams": "split"}, "renamed after version 0.1, use method.groups=split"),
        ("l2rm", {"planted_most": 0.2}, "renamed after version 0.1, use method.synthetic_most=0.2"),
        (
            "robust",
            {"clean_loss": "rce"},
            "removed after version 0.1, leave it out; robust no longer varies it",
        ),
        ("l2rm", {"streams": "split"}, "removed after version 0.1, leave it out; l2rm no longer varies it"),
        (
            "l2rm",
            {"legacy": True},
            "removed after version 0.1, use --method l2rm (released recipe) or --method robust (ours)",
        ),
    ],
)
def test_an_option_of_version_0_1_is_answered_with_the_one_of_today(name, options, message):
    assert refused(name, **options) == f"method.{next(iter(options))}: {message}"


def test_a_method_that_never_had_the_option_does_not_know_it():
    assert refused("rce", streams="split").startswith("method.streams: unknown key")
