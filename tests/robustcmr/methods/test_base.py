"""What every method inherits."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.types import StepResult


class Small(Method):
    Config = Options

    def training_step(self, batches):
        return StepResult(torch.zeros(()))


class WithNetwork(Small):
    def __init__(self, *args):
        super().__init__(*args)
        self.network = nn.Linear(2, 2)

    @property
    def auxiliary(self):
        return {"cost": self.network}


def no_scorer(evidence, matcher):
    raise AssertionError("a baseline asks for no evidence")


class Counting(Small):
    columns: ClassVar = {"seen": 0.0}


def test_columns_are_saved_with_the_epoch():
    method, other = (Counting(Options(), [], 3, 2) for _ in range(2))
    method.state["seen"] = torch.tensor([1.0, 2.0, 3.0])
    method.plan_epoch(4, no_scorer)
    other.load_state_dict(method.state_dict())
    assert (other.epoch, other.state["seen"].tolist()) == (4, [1.0, 2.0, 3.0])


def test_a_method_without_columns_may_name_anything_its_state():
    class Other(Small):
        def __init__(self, *args):
            super().__init__(*args)
            self.state, self.matcher = "mine", "also mine"

    method = Other(Options(), [], 3, 2)
    assert method.state_dict() == {"epoch": 0}
    method.load_state_dict({"epoch": 2})
    assert (method.epoch, method.matcher) == (2, "also mine")


def test_a_method_needs_a_step():
    class Half(Method):
        Config = Options

    with pytest.raises(TypeError, match="training_step"):
        Half(Options(), [], 3)


@pytest.mark.parametrize("n_pairs", [1, 1000])
def test_an_epoch_covers_every_pair_once(n_pairs):
    plan = Small(Options(), [], n_pairs, 4).plan_epoch(0, no_scorer)
    (ids,) = plan.groups.values()
    assert list(plan.groups) == ["all"]
    assert ids.dtype == np.int64
    assert sorted(ids.tolist()) == list(range(n_pairs))


class Built(Matcher):
    """A matcher of some parts, which need not be called here."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def encode_images(self, images):
        raise NotImplementedError

    encode_texts = score = encode_images


def test_every_trainable_parameter_is_in_one_group():
    first, frozen, second = nn.Linear(4, 1), nn.Linear(3, 1).requires_grad_(False), nn.Linear(1, 1)
    matchers = [Built(first), Built(second, frozen)]
    method = WithNetwork(Options(), matchers, 5, 4)
    grouped = [p for group in method.parameter_groups() for p in group["params"]]
    expected = [*first.parameters(), *second.parameters(), *method.network.parameters()]
    assert [id(p) for p in grouped] == [id(p) for p in expected]
    assert Small(Options(), matchers, 5, 4).auxiliary == {}


def test_the_epoch_survives_a_stop():
    method = Small(Options(), [], 5, 4)
    method.plan_epoch(7, no_scorer)
    again = Small(Options(), [], 5, 4)
    again.load_state_dict(method.state_dict())
    assert again.epoch == 7
