"""Rules for gradients, saved and copied state, and side effects of a matcher."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from robustcmr.errors import some_of
from robustcmr.matchers.base import Matcher
from robustcmr.testing.matcher_case import MatcherCase, encoded, scored, trainable
from robustcmr.testing.report import NotApplicable, group_problems
from robustcmr.training.checkpoint import load_modules, save_checkpoint
from robustcmr.training.seeds import capture_generators

_ATTEMPTS = 5
_NOISE = 0.05  # standard deviation of the noise added to weights between attempts


def gradients(case: MatcherCase) -> Iterator[str]:
    """In training mode a finite gradient reaches every trainable parameter."""
    missing, idle = set[str](), set[str]()
    for attempt in range(_ATTEMPTS):
        matcher = case.build(seed=attempt).train()
        parameters = trainable(matcher)
        if not parameters:
            raise NotApplicable("the matcher has nothing to train")
        if attempt == 0:
            missing, idle = set(parameters), set(parameters)
        else:
            _perturb(parameters.values(), attempt)  # a weight that starts at zero hides those behind it
        _backward(matcher, case, attempt)
        given = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        broken = sorted(name for name, gradient in given.items() if not gradient.isfinite().all())
        if broken:
            yield f"the gradient of {some_of(broken, 5)} was not finite"
            return
        missing -= given.keys()
        idle -= {name for name, gradient in given.items() if gradient.any()}
        if not idle:
            return
    if missing:
        yield f"over {_ATTEMPTS} random batches no gradient reached {some_of(sorted(missing), 5)}"
    if idle - missing:
        zero = some_of(sorted(idle - missing), 5)
        yield f"over {_ATTEMPTS} random batches the gradient of {zero} was all zero"


def _backward(matcher: Matcher, case: MatcherCase, seed: int) -> None:
    """Compute gradients of a random combination of all scores of a batch, if anything is trained."""
    scores = matcher(case.images(seed=seed), case.texts(seed=seed))
    generator = torch.Generator().manual_seed(seed)
    loss = (scores * torch.randn(scores.shape, generator=generator)).sum()
    if loss.requires_grad:
        torch.autograd.backward(loss)


def _perturb(parameters: Iterable[Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(_NOISE * torch.randn(parameter.shape, generator=generator).to(parameter))


def parameter_groups(case: MatcherCase) -> Iterator[str]:
    """The parameter groups hold every trainable parameter once, each with a finite lr_factor >= 0."""
    matcher = case.build()
    groups = matcher.parameter_groups()
    for number, group in enumerate(groups):
        factor = group.get("lr_factor")
        if not isinstance(factor, float) or not 0 <= factor < float("inf"):
            yield f"group {number} has lr_factor {factor!r}, expected a float"
    yield from group_problems(groups, trainable(matcher), "the matcher")


def saving(case: MatcherCase) -> Iterator[str]:
    """Weights saved as a checkpoint give the same scores in a fresh matcher of another seed."""
    matcher, images, texts = case.build(), case.images(), case.texts()
    fresh = case.build(seed=1)
    with TemporaryDirectory() as folder:
        place = Path(folder) / "checkpoint"
        save_checkpoint(place, {"matcher_0": matcher}, {})
        load_modules(place, {"matcher_0": fresh})
    what = "something random is in no parameter or buffer: after saving and loading, scores moved"
    yield from case.moved(what, scored(fresh, images, texts), scored(matcher, images, texts))


def copying(case: MatcherCase) -> Iterator[str]:
    """A deep copy gives the same scores and shares no weight, as running means need."""
    matcher, images, texts, expected = case.sample()
    twin = copy.deepcopy(matcher)
    yield from case.moved("scores of a deep copy differed", scored(twin, images, texts), expected)
    _perturb(twin.parameters(), 1)
    what = "after the weights of a deep copy were changed, the original's scores moved"
    yield from case.moved(what, scored(matcher, images, texts), expected)


def repeatability(case: MatcherCase) -> Iterator[str]:
    """In evaluation mode, the same input gives exactly the same scores."""
    matcher, images, texts, first = case.sample()
    if not torch.equal(scored(matcher, images, texts), first):
        yield "a second call with the same input gave other scores"


def hidden_state(case: MatcherCase) -> Iterator[str]:
    """All that training changes is in the state_dict."""
    matcher, images, texts, before = case.sample()
    state = copy.deepcopy(matcher.state_dict())
    matcher.train()
    for seed in (1, 2):
        _backward(matcher, case, seed)
    matcher.load_state_dict(state)
    what = "after training calls and loading the old state_dict, scores moved"
    yield from case.moved(what, scored(matcher.eval(), images, texts), before)


def evaluation_state(case: MatcherCase) -> Iterator[str]:
    """Evaluation mode changes no parameter, no buffer and no submodule's mode."""
    matcher = case.build()
    before = copy.deepcopy(matcher.state_dict())
    modes = [module.training for module in matcher.modules()]
    scored(matcher, case.images(seed=3), case.texts(seed=3))
    changed = [key for key, value in matcher.state_dict().items() if not _same(before.get(key), value)]
    if changed:
        yield f"scoring in evaluation mode changed {some_of(changed, 5)}"
    if [module.training for module in matcher.modules()] != modes:
        yield "scoring in evaluation mode switched a submodule to training mode"


def generators(case: MatcherCase) -> Iterator[str]:
    """Evaluation mode draws from none of the global random generators."""
    matcher, images, texts = case.build(), case.images(), case.texts()
    before = capture_generators()
    scored(matcher, images, texts)
    after = capture_generators()
    for name in ("torch", "numpy", "python"):
        if not _same(before[name], after[name]):
            yield f"scoring in evaluation mode drew from the global generator of {name}"


def inputs_untouched(case: MatcherCase) -> Iterator[str]:
    """Encoders and score do not change their inputs."""
    for mode in ("evaluation", "training"):
        matcher, images, texts = case.build().train(mode == "training"), case.images(), case.texts()
        before = copy.deepcopy((images, texts))
        sides = encoded(matcher, images, texts)
        for what in _changed(before, (images, texts)):
            yield f"encoding in {mode} mode changed {what} in place"
        kept = copy.deepcopy(sides)
        with torch.no_grad():
            matcher.score(*sides)
        for what in _changed(kept, sides):
            yield f"score in {mode} mode changed {what} of fragments in place"


def inference_mode(case: MatcherCase) -> Iterator[str]:
    """It works in torch.inference_mode, and can be trained afterwards."""
    matcher, images, texts = case.build(), case.images(), case.texts()
    with torch.inference_mode():
        inside = matcher.score(matcher.encode_images(images), matcher.encode_texts(texts)).clone()
    outside = scored(matcher, images, texts)
    yield from case.moved("scores in torch.inference_mode differed", outside, inside.clone())
    _backward(matcher.train(), case, 0)


def _changed(before: tuple[object, ...], after: tuple[object, ...]) -> Iterator[str]:
    for old, new in zip(before, after, strict=True):
        for name, value in vars(old).items():
            if not _same(value, getattr(new, name)):
                yield f"{type(old).__name__}.{name}"


def _same(one: object, other: object) -> bool:
    """Return whether values are equal to the bit; NaN equals itself."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
    return one == other
