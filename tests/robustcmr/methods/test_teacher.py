"""The slow copy of a matcher: against a slow loop, and in the places where it must work."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from robustcmr.matchers.base import Matcher
from robustcmr.methods.teacher import Teacher
from robustcmr.options import Options
from robustcmr.types import Fragments, ImageBatch, PairBatch, TextBatch

N = 6


class Small(Matcher):
    """Batch norm (floating and integer buffers), dropout, and two layers that share one weight."""

    Config = Options

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)
        self.project = nn.Linear(3, 4)
        self.words = nn.Embedding(9, 4)
        self.again = nn.Linear(4, 9, bias=False)
        self.again.weight = self.words.weight
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def encode_images(self, images):
        flat = self.drop(self.norm(images.features.flatten(0, 1)))
        return Fragments(self.project(flat).unflatten(0, images.mask.shape), images.mask)

    def encode_texts(self, texts):
        words = self.words(texts.tokens)
        return Fragments(words + 0.1 * self.again(words).mean(2, keepdim=True), texts.mask)

    def score(self, images, texts):
        return self.scale * images.features.mean(1) @ texts.features.mean(1).T


@pytest.fixture
def matcher():
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def batch():
    generator, real = torch.Generator().manual_seed(1), torch.ones(N, 2, dtype=torch.bool)
    return PairBatch(
        ImageBatch(torch.randn(N, 2, 3, generator=generator), real),
        TextBatch(torch.randint(0, 9, (N, 2), generator=generator), real),
        torch.arange(N),
        torch.eye(N, dtype=torch.bool),
    )


def train(matcher, batch):
    """One step that changes weights, running statistics and the counter of batches."""
    optimiser = torch.optim.SGD(matcher.parameters(), lr=0.05)
    matcher.train()
    optimiser.zero_grad()
    matcher(batch.images, batch.texts).square().mean().backward()
    optimiser.step()


def state(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("decay", [0.2, 0.5, 0.999])
def test_it_is_the_running_mean_of_the_weights(matcher, batch, decay):
    teacher = Teacher(matcher, decay)
    expected = state(matcher)
    for t in range(12):
        train(matcher, batch)
        with torch.no_grad():
            matcher.scale.add_(0.1)
        kept = min(decay, (1 + t) / (10 + t))
        for name, new in matcher.state_dict().items():
            own = expected[name]
            expected[name] = kept * own + (1 - kept) * new if own.is_floating_point() else new.clone()
        teacher.follow(matcher)
        assert int(teacher.updates) == t + 1
    found = teacher.matcher.state_dict()
    assert found.keys() == expected.keys()
    for name, own in found.items():
        torch.testing.assert_close(own, expected[name], rtol=1e-5, atol=1e-6, msg=name)
    assert int(found["norm.num_batches_tracked"]) == 12
    assert teacher.matcher.again.weight is teacher.matcher.words.weight
    assert 1 < teacher.matcher.scale < 2.2  # no part of the state, but of what the matcher computes with


def test_it_follows_quickly_at_first(matcher, batch):
    """A tenth of itself is left at once, as it begins with untrained weights."""
    before = state(matcher)
    teacher = Teacher(matcher, 0.999)
    train(matcher, batch)
    teacher.follow(matcher)
    weight, new = teacher.matcher.project.weight, matcher.project.weight
    torch.testing.assert_close(weight.data, 0.1 * before["project.weight"] + 0.9 * new.data)


def test_it_is_a_copy_that_leaves_the_matcher_alone(matcher, batch):
    teacher = Teacher(matcher, 0.9)
    before = state(teacher.matcher)
    train(matcher, batch)
    after = state(matcher)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.matcher.state_dict().items())
    teacher.follow(matcher)
    assert all(torch.equal(tensor, after[name]) for name, tensor in matcher.state_dict().items())
    assert all(parameter.requires_grad for parameter in matcher.parameters())


def test_it_stays_in_evaluation_mode(matcher, batch):
    matcher.train()
    teacher = Teacher(matcher, 0.9)
    holder = nn.ModuleList([teacher])
    for switch in (teacher.train, holder.train, lambda: teacher.train(True), teacher.eval):
        switch()
        assert not any(module.training for module in teacher.modules())
    assert teacher.train() is teacher
    assert matcher.training
    before = state(teacher.matcher)
    first, second = (teacher.matcher(batch.images, batch.texts) for _ in range(2))
    assert torch.equal(first, second)  # no dropout
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.matcher.state_dict().items())


def test_it_has_and_gives_no_gradients(matcher, batch):
    teacher = Teacher(matcher, 0.9)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    scores = teacher.matcher(batch.images, batch.texts)
    assert not scores.requires_grad
    assert (scores.shape, scores.dtype) == ((N, N), torch.float32)
    matcher.eval()
    torch.testing.assert_close(scores, matcher(batch.images, batch.texts).detach())
    train(matcher, batch)
    teacher.follow(matcher)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_its_state_round_trips_and_goes_on_as_before(matcher, batch):
    teacher = Teacher(matcher, 0.9)
    for _ in range(3):
        train(matcher, batch)
        teacher.follow(matcher)
    torch.manual_seed(5)
    other = Teacher(Small(), 0.9)
    other.load_state_dict(teacher.state_dict())
    train(matcher, batch)
    for one in (teacher, other):
        one.follow(matcher)
    expected, found = teacher.state_dict(), other.state_dict()
    assert int(expected["updates"]) == 4
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.fixture
def _fresh_accelerate():
    """Precision is kept for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("_fresh_accelerate")
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_after_accelerate_has_prepared_the_matcher(matcher, batch, precision):
    plain = Teacher(matcher, 0.9).matcher(batch.images, batch.texts)
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    prepared = accelerator.prepare(matcher)
    teacher = Teacher(prepared, 0.9)
    scores = teacher.matcher(batch.images, batch.texts)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, plain, atol=0.05 if precision == "bf16" else 1e-6, rtol=0)
    assert torch.equal(scores, plain) == (precision == "no")
    # the copy computes with its own weights, not with those of the matcher it was copied from
    expected = state(matcher)["project.weight"]
    for t in range(3):
        train(prepared, batch)
        kept = (1 + t) / (10 + t)
        expected = kept * expected + (1 - kept) * matcher.project.weight.detach()
        teacher.follow(prepared)
    torch.testing.assert_close(teacher.matcher.project.weight.data, expected)
    assert teacher.matcher.project.weight.dtype == torch.float32
    with torch.no_grad():
        for parameter in matcher.parameters():
            parameter.zero_()
    assert teacher.matcher(batch.images, batch.texts).abs().sum() > 0
    assert teacher.matcher is not matcher
