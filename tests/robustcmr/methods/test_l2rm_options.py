"""The options of L2RM: the released preset, what wins over it, and what does not go together."""

import json

import pytest
import yaml

from robustcmr.config.resolve import compose, resolve
from robustcmr.errors import ConfigError
from robustcmr.methods.l2rm_options import RELEASED, L2RMOptions

OURS = {name: info.default for name, info in L2RMOptions.model_fields.items()}


def refused(**options):
    """The whole message about a run with these options."""
    with pytest.raises(ConfigError) as caught:
        resolve({"method": {"name": "l2rm", **options}})
    return str(caught.value)


def test_without_the_preset_all_is_ours():
    assert L2RMOptions().model_dump() == OURS
    assert L2RMOptions(legacy=False).model_dump() == OURS


def test_the_preset_fills_what_is_not_set():
    found = L2RMOptions(legacy=True).model_dump()
    assert found == {**OURS, **RELEASED, "legacy": True}
    # the released recipe as it is published, so that the preset cannot drift unseen
    assert (found["warmup_epochs"], found["warmup_loss"]) == (5, "rce")
    assert (found["mass"], found["epsilon"], found["cost_lr"]) == (0.1, 0.01, 2e-6)
    assert (found["margin"], found["temperature"], found["evidence_margin"]) == (0.2, 0.05, 0.2)
    assert (found["solver"], found["weighting"], found["rematch_loss"]) == ("dummies", "uniform", "kl")
    assert (found["streams"], found["clean_loss"], found["mixture"]) == ("split", "hinge", "beta")
    assert found["teacher_decay"] is None


def test_the_preset_sets_only_what_is_an_option():
    assert RELEASED.keys() < OURS.keys()


@pytest.mark.parametrize(
    "given",
    [
        {"mass": 0.9, "epsilon": 0.07},
        {"mass": OURS["mass"], "solver": OURS["solver"]},  # a value that is our default wins all the same
        {"teacher_decay": 0.9, "agreement": 0.5},
        {"streams": "mixed", "cost": "network"},
        {"mask_same_image": True, "warmup_epochs": 0},
    ],
    ids=lambda given: " ".join(given),
)
def test_what_is_said_wins_over_the_preset(given):
    for order in ({"legacy": True, **given}, {**given, "legacy": True}):
        assert L2RMOptions(**order).model_dump() == {**OURS, **RELEASED, **given, "legacy": True}


@pytest.mark.parametrize(
    "options",
    [{}, {"legacy": True}, {"legacy": True, "epsilon": 0.07, "clean_loss": "rce"}, {"teacher_decay": 0.9}],
    ids=str,
)
def test_saved_and_read_again_means_the_same(options):
    config = resolve({"method": {"name": "l2rm", **options}})
    first = config.to_dict()
    assert resolve(json.loads(json.dumps(first))).to_dict() == first
    again = resolve(yaml.safe_load(config.to_yaml()))
    assert again.method.options == config.method.options
    assert again.to_yaml() == config.to_yaml()


def test_the_preset_from_the_command_line():
    config = compose(None, {"method.name": "l2rm"}, ["method.legacy=true", "method.epsilon=7e-2"])
    assert config.method.options == L2RMOptions(legacy=True, epsilon=0.07)


@pytest.mark.parametrize("value", [1, "true", "yes"])
def test_the_preset_is_never_half_chosen(value):
    """What pydantic would take for true only after the preset was passed over."""
    assert refused(legacy=value) == f"method.legacy: got {value!r}, expected true or false"


def test_agreement_needs_a_teacher():
    said = refused(agreement=0.5, teacher_decay=None)
    assert said == (
        "method: agreement is 0.5 but there is no teacher to agree with; set teacher_decay, or agreement to 0"
    )
    assert "no teacher to agree with" in refused(teacher_decay=None)
    assert "no teacher to agree with" in refused(legacy=True, agreement=1.0)
    assert L2RMOptions(teacher_decay=None, agreement=0).teacher_decay is None


def test_planted_shares_must_be_a_range():
    said = refused(planted_least=0.2, planted_most=0.1)
    assert said == (
        "method: planted_least is 0.2 but planted_most is 0.1; expected planted_least to be no larger"
    )
    assert L2RMOptions(planted_least=0.1, planted_most=0.1).planted_least == 0.1


def test_the_positional_cost_needs_batches_of_suspected_pairs():
    said = refused(cost="positional")
    assert said == (
        "method: cost is positional but streams is auto, and that cost knows full batches of suspected "
        "pairs alone; set streams to split, or another cost"
    )
    mixed = refused(legacy=True, streams="mixed")
    assert "streams is mixed" in mixed
    assert "streams to split" in mixed
    assert L2RMOptions(cost="positional", streams="split").cost == "positional"
    assert L2RMOptions(cost="positional", rematch_weight=0).cost == "positional"  # nothing is rematched


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"teacher_decay": 1.0}, "a number in (0, 1) or null"),
        ({"mass": 0}, "a number in (0, 1]"),
        ({"mass": 1.1}, "a number in (0, 1]"),
        ({"epsilon": 0}, "a number above 0"),
        ({"threshold": 1}, "a number in (0, 1)"),
        ({"temperature": 0}, "a number above 0"),
        ({"warmup_epochs": -1}, "a whole number of at least 0"),
        ({"agreement": -0.1}, "a number of at least 0"),
        ({"cost_lr": 0}, "a number above 0"),
        ({"planted_least": 0}, "a number in (0, 1]"),
        ({"floor": 0}, "a number in (0, 1)"),
        ({"split_above": 0}, "a number in (0, 1]"),
        ({"rematch_weight": float("nan")}, "a number of at least 0"),
        ({"streams": "both"}, "auto, mixed or split"),
        ({"mixture": "betas"}, "anchored, beta or gaussian"),
        ({"cost": "learned"}, "network, similarity or positional"),
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
