"""The kernels against a slow loop, and against the tensor operations in float64.

They run on a GPU where there is one, and in Triton's interpreter where a process was started for that, as
``test_triton_support`` does.
"""

import logging
import os
import sys

import pytest
import torch

pytest.importorskip("triton")

from robustcmr.transport import pair_scores, triton_scores
from robustcmr.transport.triton_scores import Layout
from robustcmr.transport.triton_support import Attempt

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"

if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("no GPU, and not in Triton's interpreter", allow_module_level=True)


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch):
    """Failures are raised: tensor operations must not stand in for the kernels."""
    monkeypatch.setattr(triton_scores, "attempt", lambda function, *inputs: function(*inputs))


def run(sets, backend, dtype, shape, corner=None, smoothing=0.05, iterations=3, device=DEVICE, **options):
    """Scores and the gradients of a weighted sum of them, on the CPU."""
    has_bins = corner is not None or "bins" in options
    data = (x.to(device) for x in sets(*shape, dtype=dtype, bins=has_bins))
    inputs = [x.requires_grad_() for x in data]
    scores = pair_scores(
        *inputs, smoothing=smoothing, iterations=iterations, corner=corner, backend=backend, **options
    )
    by_score = torch.linspace(-1, 1, scores.numel(), dtype=dtype, device=device).view_as(scores)
    (scores * by_score).sum().backward()
    return [scores.detach().cpu(), *(x.grad.cpu() for x in inputs)]


def relative_difference(found, expected):
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=0.1)).item()


@pytest.mark.parametrize("corner", [None, -10.0])
def test_equals_the_released_formula(sets, slow, corner):
    data = sets(n=3, m=5, R=6, W=7, bins=corner is not None)
    inputs = [x.float().to(DEVICE) for x in data]
    found = pair_scores(*inputs, smoothing=0.05, iterations=3, corner=corner, backend="triton")
    assert found.dtype == torch.float32
    assert (found.cpu() - slow(*data, 0.05, 3, corner)).abs().max() < 1e-5


# sets on either side, fragments of each, and width: single ones, fewer than a block, more than one block of
# sets and of width, more fragments than the smallest block, and just one block
CASES = [
    ((1, 1, 2, 2, 2), -10.0, 0.05, 1),
    ((3, 1, 5, 1, 3), None, 0.01, 2),
    ((5, 3, 7, 5, 20), None, 0.05, 1),
    ((5, 3, 7, 5, 20), 0.3, 0.3, 4),
    ((5, 9, 17, 33, 40), None, 0.05, 3),
    ((5, 9, 17, 33, 40), -10.0, 0.02, 2),
    ((2, 5, 36, 32, 33), 0.3, 0.01, 3),
    ((1, 2, 16, 16, 16), None, 0.02, 2),
    ((2, 1, 65, 3, 5), -10.0, 0.05, 2),
]


@pytest.mark.parametrize(("shape", "corner", "smoothing", "iterations"), CASES)
def test_scores_and_all_gradients_equal_those_in_double_precision(sets, shape, corner, smoothing, iterations):
    options = {"corner": corner, "smoothing": smoothing, "iterations": iterations}
    exact = run(sets, "tensors", torch.float64, shape, device="cpu", **options)
    for found, expected in zip(run(sets, "triton", torch.float32, shape, **options), exact, strict=True):
        assert relative_difference(found, expected) < 5e-5


# the bins' similarity and the score, where they are not what a corner alone says
@pytest.mark.parametrize(("corner", "bins"), [(None, "mean"), (None, "sum"), (0.3, "sum")])
@pytest.mark.parametrize("smoothing", [0.05, 0.02])
def test_bins_score_as_in_double_precision(sets, corner, bins, smoothing):
    shape, options = (5, 9, 17, 13, 20), {"corner": corner, "bins": bins, "smoothing": smoothing}
    exact = run(sets, "tensors", torch.float64, shape, device="cpu", **options)
    for found, expected in zip(run(sets, "triton", torch.float32, shape, **options), exact, strict=True):
        assert relative_difference(found, expected) < 5e-5


@pytest.mark.parametrize(("tile_cells", "cells"), [(1, 8192), (400, 8192), (800, 512)])
def test_blocks_of_the_way_back_and_shapes_of_programs_change_nothing(sets, monkeypatch, tile_cells, cells):
    shape = (3, 5, 7, 9, 20)
    exact = run(sets, "tensors", torch.float64, shape, -10.0, device="cpu")
    monkeypatch.setattr(triton_scores, "_CELLS", cells)
    found = run(sets, "triton", torch.float32, shape, -10.0, tile_cells=tile_cells)
    for one, other in zip(found, exact, strict=True):
        assert relative_difference(one, other) < 5e-5


@pytest.mark.parametrize(
    ("sizes", "dtype", "expected"),
    [
        ((128, 128, 36, 32, 1024), torch.float32, (Layout(1, 4, 64, 32, 32), 4)),
        ((128, 128, 37, 9, 1024), torch.bfloat16, (Layout(1, 8, 64, 16, 64), 4)),
        ((128, 3, 10, 12, 1024), torch.float16, (Layout(4, 4, 16, 16, 64), 4)),
        ((1, 9, 128, 128, 5), torch.float32, (Layout(1, 1, 128, 128, 16), 8)),
        ((1, 1, 1, 1, 1), torch.float32, (Layout(1, 1, 16, 16, 16), 4)),
    ],
)
def test_layout(sizes, dtype, expected):
    layout = Layout.of(*sizes, dtype)
    assert (layout, layout.warps) == expected


@pytest.mark.parametrize("smoothing", [0.05, 0.01])
def test_sets_without_weights_score_zero_and_get_no_gradient(sets, smoothing):
    left, right, a, b = (x.float().to(DEVICE) for x in sets(n=5))
    a[2], b[0] = 0.0, 0.0
    inputs = [x.requires_grad_() for x in (left, right, a, b)]
    scores = pair_scores(*inputs, smoothing=smoothing, iterations=3, backend="triton")
    scores.sum().backward()
    assert (scores[2] == 0).all()
    assert (scores[:, 0] == 0).all()
    assert (scores[:2, 1:] != 0).all()
    assert (left.grad[2] == 0).all()
    assert (left.grad[1, 1:3] == 0).all()  # regions of no weight, of a set that has some
    assert (right.grad[-1, 0] == 0).all()
    assert all(x.grad.isfinite().all() for x in inputs)


def test_fragments_without_weight_are_not_even_read(sets):
    left, right, a, b = (x.float().to(DEVICE) for x in sets())
    expected = pair_scores(left, right, a, b, smoothing=0.05, iterations=3, backend="triton")
    left[1, 1:3], right[-1, 0] = float("nan"), float("inf")
    assert torch.equal(
        expected, pair_scores(left, right, a, b, smoothing=0.05, iterations=3, backend="triton")
    )


def test_a_caption_without_a_bin_among_others_that_have_one(sets):
    def gradients(backend, dtype, device):
        left, right, a, b = (x.to(device) for x in sets(n=4, m=5, dtype=dtype, bins=True))
        b = torch.cat([b[:3], torch.cat([b[3:, :-1], torch.zeros_like(b[3:, -1:])], 1)])
        inputs = [x.requires_grad_() for x in (left, right, a, b)]
        scores = pair_scores(*inputs, smoothing=0.01, iterations=3, corner=-10.0, backend=backend)
        scores.square().sum().backward()
        return [scores.detach().cpu(), *(x.grad.cpu() for x in inputs)]

    exact = gradients("tensors", torch.float64, "cpu")
    for found, expected in zip(gradients("triton", torch.float32, DEVICE), exact, strict=True):
        assert relative_difference(found, expected) < 5e-5


# The interpreter would multiply the bits of bfloat16 as whole numbers.
@pytest.mark.parametrize("dtype", [torch.float16] if INTERPRETED else [torch.float16, torch.bfloat16])
def test_half_precision_is_close(sets, dtype):
    data = sets(n=3, m=5, R=12, W=9, D=64)
    rounded = [x.to(dtype).double().requires_grad_() for x in data[:2]]
    exact = pair_scores(*rounded, *data[2:], smoothing=0.05, iterations=3, backend="tensors")
    exact.sum().backward()
    inputs = [x.to(dtype).to(DEVICE).requires_grad_() for x in data[:2]]
    weights = [x.float().to(DEVICE) for x in data[2:]]
    scores = pair_scores(*inputs, *weights, smoothing=0.05, iterations=3, backend="triton")
    scores.sum().backward()
    assert scores.dtype == torch.float32
    assert (scores.cpu() - exact).abs().max() < 1e-5  # products and all else are wider than the fragments
    for found, expected in zip(inputs, rounded, strict=True):
        assert found.grad.dtype == dtype
        assert relative_difference(found.grad.cpu().double(), expected.grad) < 0.02


def test_the_way_back_can_be_walked_twice_and_is_the_same(sets):
    inputs = [x.float().to(DEVICE).requires_grad_() for x in sets(n=5)]
    scores = pair_scores(*inputs, smoothing=0.05, iterations=3, backend="triton").sum()
    first = torch.autograd.grad(scores, inputs, retain_graph=True)
    second = torch.autograd.grad(scores, inputs)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_inputs_need_not_be_contiguous_nor_all_trained(sets):
    left, right, a, b = (x.float().to(DEVICE) for x in sets())
    expected = pair_scores(left, right, a, b, smoothing=0.05, iterations=3, backend="triton")
    left, right = left.mT.contiguous().mT, right.mT.contiguous().mT.requires_grad_()
    found = pair_scores(left, right, a.T.contiguous().T, b, smoothing=0.05, iterations=3, backend="triton")
    found.sum().backward()
    assert torch.equal(found, expected)
    assert left.grad is None
    assert right.grad.shape == right.shape


def test_padding_far_more_similar_than_all_else_does_not_overflow():
    one, other = [1.0, 0.0], [-1.0, 0.0]
    data = [[[one, other]], [[one, other]], [[1.0, 0.0]], [[0.5, 0.5]]]
    inputs = [torch.tensor(x, device=DEVICE).requires_grad_() for x in data]
    scores = pair_scores(*inputs, smoothing=0.005, iterations=3, backend="triton")
    scores.sum().backward()
    assert scores.item() == pytest.approx(0.0, abs=1e-6)
    assert all(x.grad.isfinite().all() for x in inputs)


def test_no_tensor_of_all_similarities_is_kept_nor_any_scaling_without_gradients(sets):
    sizes = []
    inputs = [x.float().to(DEVICE).requires_grad_() for x in sets(n=4, m=3)]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        pair_scores(*inputs, smoothing=0.05, iterations=2, backend="triton")
    assert 2 * 4 * 3 * 4 in sizes  # iterations, pairs, words
    assert max(sizes) < 4 * 3 * 5 * 4  # pairs, regions, words
    with torch.no_grad():
        assert not pair_scores(*inputs, smoothing=0.05, iterations=2, backend="triton").requires_grad


def test_where_only_the_way_back_fails_tensor_operations_do_it(sets, monkeypatch, caplog):
    warning = "Triton failed, so the scoring of pairs takes tensor operations and longer"
    monkeypatch.setattr(triton_scores, "attempt", Attempt(warning))
    exact = run(sets, "tensors", torch.float64, (3, 2, 4, 5, 6), device="cpu")
    data = [x.float().to(DEVICE).requires_grad_() for x in sets(3, 2, 4, 5, 6)]
    scores = pair_scores(*data, smoothing=0.05, iterations=3, backend="triton")
    monkeypatch.setitem(sys.modules, "robustcmr.transport.triton_kernels", None)
    with caplog.at_level(logging.WARNING):
        (scores * torch.linspace(-1, 1, 6, device=DEVICE).view(3, 2)).sum().backward()
    assert len(caplog.records) == 1
    assert "the scoring of pairs takes tensor operations" in caplog.text
    for found, expected in zip([scores.detach(), *(x.grad for x in data)], exact, strict=True):
        assert relative_difference(found.cpu(), expected) < 5e-5


def test_auto_takes_the_kernels_on_a_gpu_alone(sets, monkeypatch):
    seen = []
    inner = triton_scores.forward
    monkeypatch.setattr(triton_scores, "forward", lambda *x: seen.append(x[0].left.dtype) or inner(*x))
    data = [x.to(DEVICE) for x in sets()]
    pair_scores(*data, smoothing=0.05, iterations=3)
    assert seen == []  # double precision
    pair_scores(*(x.float() for x in data), smoothing=0.05, iterations=3)
    assert seen == ([] if DEVICE == "cpu" else [torch.float32])
