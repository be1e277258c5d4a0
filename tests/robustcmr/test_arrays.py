"""Functions of tensors take NumPy arrays and lists, and refuse anything else in one sentence."""

import importlib

import numpy as np
import pytest
import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays, tensor_of

RNG = np.random.default_rng(0)
SCORES = (np.eye(6) + 0.3 * RNG.random((6, 6))).astype(np.float32)
TARGETS = np.eye(6, dtype=np.float32)
VECTORS = np.eye(6, 4, dtype=np.float32) + 0.1
CLASSES = np.full((6, 3), 1 / 3)
CALLS = {
    "losses.hinge_loss": (SCORES,),
    "losses.soft_margin": (0.2, CLASSES[:, 0]),
    "losses.infonce_loss": (SCORES,),
    "losses.log_matching_probabilities": (SCORES,),
    "losses.robust_cross_entropy_loss": (SCORES,),
    "losses.soft_cross_entropy_loss": (SCORES, TARGETS, TARGETS),
    "losses.symmetric_kl_loss": (SCORES, TARGETS, TARGETS),
    "losses.anchor_probabilities": (VECTORS, VECTORS[:3], 0.5),
    "losses.anchor_cross_entropy": (VECTORS, VECTORS[:3], TARGETS[:, :3], 0.5),
    "losses.robust_clustering": (VECTORS, VECTORS[:3], TARGETS[:, :3], 0.5),
    "losses.multimodal_contrast": (VECTORS, VECTORS, 0.5),
    "selection.batch_hinge": (SCORES,),
    "selection.batch_cross_entropy": (SCORES,),
    "selection.divide_by_mixture": (SCORES.ravel(),),
    "selection.divide_by_reference": (SCORES.ravel(), SCORES.ravel() + 1),
    "selection.beta_as_released": (SCORES.ravel(),),
    "selection.gaussian_as_released": (SCORES.ravel(),),
    "selection.estimate_transitions": (CLASSES, np.arange(6, dtype=np.int32) % 3),
    "transport.balanced_plan": (1 - SCORES,),
    "transport.partial_plan": (1 - SCORES, None, None, 0.3),
    "transport.exact_plan": (1 - SCORES,),
    "transport.feasible_mass": (TARGETS[0], TARGETS[0], SCORES > 0),
    "correction.allowed_cells": (np.arange(6), np.arange(6)),
    "correction.rematch": (2 - SCORES,),
    "correction.rematch_targets": (SCORES / 36,),
    "correction.dummy_point_plan": (2 - SCORES,),
    "correction.label_targets": (CLASSES, np.full(3, 1 / 3), 0.6),
    "correction.relation_plan": (CLASSES,),
    "correction.anchor_ratio": (VECTORS, VECTORS, VECTORS[:2], VECTORS[:2]),
    "correction.batch_relative_prediction": (SCORES[0], 0.2),
    "correction.hinge_agreement": (SCORES[0], 0.2),
    "correction.nearest_candidates": (VECTORS, VECTORS, 2),
    "correction.positional_loss": (1 - SCORES, TARGETS > 0),
}


def function(name):
    room, _, last = name.partition(".")
    return getattr(importlib.import_module(f"robustcmr.{room}"), last)


def tensors(found):
    """Every tensor and array of a result, in its order."""
    if isinstance(found, (Tensor, np.ndarray)):
        return [torch.as_tensor(found)]
    parts = found if isinstance(found, tuple) else vars(found).values()
    return [x for part in parts if isinstance(part, (Tensor, np.ndarray)) for x in tensors(part)]


@pytest.mark.parametrize("name", CALLS)
def test_a_score_matrix_in_numpy_gives_what_its_tensor_gives(name):
    of_arrays = tensors(function(name)(*CALLS[name]))
    given = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in CALLS[name]]
    of_tensors = tensors(function(name)(*given))
    assert len(of_arrays) > 0
    for one, other in zip(of_arrays, of_tensors, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


WITH_GRADIENT = ("losses", "selection.batch", "correction.positional_loss")
AT_LEAST_FLOAT32 = (
    *("losses.sym", "losses.soft", "transport", "correction.rematch", "correction.dummy"),
    *("correction.anchor", "correction.batch", "correction.hinge"),
)
DETACHED_TYPES = {  # of the others
    **dict.fromkeys(("selection.divide_by_mixture", "selection.divide_by_reference"), torch.float64),
    **dict.fromkeys(("selection.beta_as_released", "selection.gaussian_as_released"), torch.float64),
    **dict.fromkeys(("selection.estimate_transitions", "transport.feasible_mass"), torch.float64),
    **dict.fromkeys(("correction.relation_plan", "correction.nearest_candidates"), torch.float32),
}


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(set(CALLS) - {"correction.allowed_cells"}))
def test_gradient_and_type_of_a_result_are_as_documented(name, kind):
    def typed(x):
        x = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
        return x.to(kind).requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x

    found = [x for x in tensors(function(name)(*map(typed, CALLS[name]))) if x.is_floating_point()]
    assert {x.requires_grad for x in found} == {name.startswith(WITH_GRADIENT)}
    expected = DETACHED_TYPES.get(name, kind)
    if name.startswith(AT_LEAST_FLOAT32) and name not in DETACHED_TYPES:
        expected = torch.promote_types(kind, torch.float32)
    assert found[0].dtype == expected


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"transport.feasible_mass", "losses.soft_margin"}))
@pytest.mark.parametrize("wrong", ["scores.npy", {"a": 1}, [[1.0, 2.0], [3.0]], None, 0.5, [["a"]]])
def test_anything_else_is_refused_in_one_sentence(name, wrong):
    with pytest.raises(ValueError, match=r"expected|cannot be read|must be") as raised:
        function(name)(wrong, *CALLS[name][1:])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "value", [0, 0.0, -0.1, float("nan"), float("inf"), "0.1", None, True, np.float32(-1)]
)
@pytest.mark.parametrize(
    "name", ["losses.infonce_loss", "selection.batch_cross_entropy", "losses.hinge_loss"]
)
def test_numbers_that_must_be_positive(name, value):
    key = "margin" if "hinge" in name else "temperature"
    with pytest.raises(
        ValueError, match=f"{key} is .*; expected a positive finite number, such as {key}=0.05"
    ):
        function(name)(SCORES, **{key: value})


def test_a_temperature_may_be_learned():
    temperature = torch.tensor(0.5, requires_grad=True)
    function("losses.infonce_loss")(SCORES, temperature).sum().backward()
    assert temperature.grad is not None


@takes_arrays()
def returned(first: Tensor, second: Tensor | None = None, number: float | Tensor = 1.0, word: str = ""):
    return first, second, number, word


def test_tensors_pass_unchanged_and_only_annotated_arguments_are_read():
    first = torch.zeros(2, requires_grad=True)
    found = returned(first, word=[1, 2])
    assert found[0] is first
    assert found[1:] == (None, 1.0, [1, 2])


def test_arrays_go_to_the_device_of_the_first_tensor():
    first, second, _, _ = returned(np.zeros(2), torch.zeros(2, device="meta"))
    assert first.device == second.device


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0)[::-1],
        np.arange(6).astype(">f4"),
        np.arange(6, dtype=np.uint32),
        np.arange(6, dtype=np.longdouble),
        np.broadcast_to(np.float32(1), (2, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6) > 2,
        np.array(0.3),
        [[1, 2], [3, 4]],
    ],
    ids=str,
)
def test_arrays_of_every_layout(array):
    found = tensor_of(array, "scores")
    np.testing.assert_array_equal(found.numpy(), np.asarray(array).astype(found.numpy().dtype))


def test_no_array_is_written_to():
    array = np.broadcast_to(np.float32(1), (2, 2))  # read-only, and all cells are one
    tensor_of(array, "scores")[0, 0] = 5
    assert (array == 1).all()


def test_evidence_may_be_a_tensor_that_requires_a_gradient_or_is_narrow():
    divide = function("selection.divide_by_mixture")
    values = torch.tensor([0.125] * 20 + [0.875] * 20)
    whole = divide(values.numpy()).clean_probability
    for given in (values.requires_grad_(), values.detach().bfloat16(), values.tolist()):
        np.testing.assert_array_equal(divide(given).clean_probability, whole)


def test_a_score_matrix_is_no_evidence():
    with pytest.raises(ValueError, match=r"shape \(6, 6\); of a score matrix, take batch_hinge\(scores\)"):
        function("selection.divide_by_mixture")(SCORES)
