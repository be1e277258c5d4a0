"""The pairwise scores against a slow loop, autograd, symmetries and edge cases."""

import logging

import pytest
import torch

from robustcmr.transport import pair_scores, tensor_scores, tiles
from robustcmr.transport.tensor_scores import tiling
from robustcmr.transport.tiles import ScoreProblem
from robustcmr.transport.triton_support import Attempt

CORNERS = [None, -10.0, 0.3]
# the bins' similarity and the score, where they are not what a corner alone says
BINS = [(None, "mean"), (None, "sum"), (0.3, "sum")]


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("iterations", [1, 3, 8])
def test_equals_the_released_formula(sets, slow, corner, iterations):
    data = sets(bins=corner is not None)
    expected = slow(*data, 0.05, iterations, corner)
    exact = pair_scores(*data, smoothing=0.05, iterations=iterations, corner=corner)
    assert exact.dtype == torch.float64
    assert (exact - expected).abs().max() < 1e-12
    single = pair_scores(*(x.float() for x in data), smoothing=0.05, iterations=iterations, corner=corner)
    assert single.dtype == torch.float32
    assert (single - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("corner", "bins"), BINS)
@pytest.mark.parametrize("smoothing", [0.05, 0.02])
@pytest.mark.parametrize("backend", ["tensors", "torch_compile"])
def test_bins_follow_the_formula(sets, slow, corner, bins, smoothing, backend, monkeypatch):
    monkeypatch.setattr(tensor_scores, "_compiled", lambda function: function)  # fused, but not compiled
    monkeypatch.setattr(tensor_scores, "_attempt", lambda function, *inputs: function(*inputs))
    data, options = sets(bins=True), {"smoothing": smoothing, "iterations": 3, "corner": corner, "bins": bins}
    expected = slow(*data, smoothing, 3, corner, bins)
    assert (pair_scores(*data, **options, backend=backend) - expected).abs().max() < 1e-12
    single = pair_scores(*(x.float() for x in data), **options, backend=backend)
    assert (single - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("corner", "bins"), BINS)
@pytest.mark.parametrize("smoothing", [0.3, 0.04])  # plain and shifted kernels
@pytest.mark.parametrize("backend", ["tensors", "torch_compile"])
def test_gradients_with_bins(sets, smoothing, corner, bins, backend, monkeypatch):
    monkeypatch.setattr(tensor_scores, "_compiled", lambda function: function)
    monkeypatch.setattr(tensor_scores, "_attempt", lambda function, *inputs: function(*inputs))
    left, right, a, b = sets(n=2, m=3, R=4, W=3, D=3, bins=True)
    a, b = a.clamp(min=0.05), b.clamp(min=0.05)

    def scores(*inputs):
        options = {"corner": corner, "bins": bins, "tile_cells": 24, "backend": backend}
        return pair_scores(*inputs, smoothing=smoothing, iterations=3, **options)

    assert torch.autograd.gradcheck(scores, tuple(x.requires_grad_() for x in (left, right, a, b)))


@pytest.mark.parametrize("backend", ["tensors", "numba"])
@pytest.mark.parametrize("smoothing", [0.05, 0.02])
def test_similarities_beyond_one_stay_in_range(sets, slow, smoothing, backend):
    left, right, a, b = sets(bins=True)
    right = torch.cat([right[:, :-1], 5 * right[:, -1:]], 1)  # exp(5 / 0.02) is infinite in float32
    expected = slow(left, right, a, b, smoothing, 3, None, "sum")
    data = [x.float().requires_grad_() for x in (left, right, a, b)]
    scores = pair_scores(*data, smoothing=smoothing, iterations=3, bins="sum", reach=5.0, backend=backend)
    assert (scores - expected).abs().max() < 1e-5
    scores.sum().backward()
    assert all(x.grad.isfinite().all() for x in data)


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("smoothing", [0.02, 0.01])
def test_little_smoothing_stays_finite_and_right_in_single_precision(sets, slow, smoothing, corner):
    left, right, a, b = sets(n=5, m=6, D=4, bins=corner is not None)
    left[0] = -right[0, :1]  # all regions of one image opposite to a word: exp(-2 / 0.01) is 0 in float32
    expected = slow(left, right, a, b, smoothing, 3, corner)
    data = [x.float().requires_grad_() for x in (left, right, a, b)]
    scores = pair_scores(*data, smoothing=smoothing, iterations=3, corner=corner)
    assert (scores - expected).abs().max() < 1e-5
    scores.square().sum().backward()
    assert all(x.grad.isfinite().all() for x in data)


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("smoothing", [0.3, 0.04])  # plain and shifted kernels
@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_gradients_by_everything(sets, smoothing, corner, kept_bytes):
    left, right, a, b = sets(n=2, m=3, R=4, W=3, D=3, bins=corner is not None)
    a, b = a.clamp(min=0.05), b.clamp(min=0.05)  # at exactly 0 the gradient is 0 by definition, not by limit

    def scores(*inputs):
        return pair_scores(
            *inputs, smoothing=smoothing, iterations=3, corner=corner, tile_cells=24, kept_bytes=kept_bytes
        )

    assert torch.autograd.gradcheck(scores, tuple(x.requires_grad_() for x in (left, right, a, b)))


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("smoothing", [0.05, 0.01])
def test_fragments_without_weight_have_no_part(sets, smoothing, corner):
    left, right, a, b = sets(bins=corner is not None)
    options = {"smoothing": smoothing, "iterations": 3, "corner": corner}
    inputs = [x.clone().requires_grad_() for x in (left, right, a, b)]
    before = pair_scores(*inputs, **options)
    (before * torch.arange(12).reshape(4, 3)).sum().backward()
    assert (inputs[0].grad[1, 1:3] == 0).all()
    assert (inputs[1].grad[-1, 0] == 0).all()
    assert (inputs[2].grad[1, 1:3] == 0).all()
    assert (inputs[3].grad[-1, 0] == 0).all()
    assert (inputs[0].grad[0] != 0).any(1).all()
    moved_left, moved_right = left.clone(), right.clone()
    moved_left[1, 1:3], moved_right[-1, 0] = right[0, 0], left[0, 0]
    after = pair_scores(moved_left, moved_right, a, b, **options)
    assert (after - before).abs().max() < 1e-12


def test_a_set_without_weights_scores_zero_and_gets_no_gradient(sets):
    left, right, a, b = sets()
    a[2], b[0] = 0.0, 0.0
    inputs = [x.requires_grad_() for x in (left, right, a, b)]
    scores = pair_scores(*inputs, smoothing=0.05, iterations=3)
    scores.sum().backward()
    assert (scores[2] == 0).all()
    assert (scores[:, 0] == 0).all()
    assert (scores[:2, 1:] != 0).all()
    assert (left.grad[2] == 0).all()
    assert all(x.grad.isfinite().all() for x in inputs)
    only_bins = pair_scores(
        left, right, torch.eye(5)[-1:].expand(4, -1).double(), b, smoothing=0.05, iterations=3, corner=-10.0
    )
    assert only_bins.isfinite().all()


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("tile_cells", [1, 45, 120])
@pytest.mark.parametrize("kept_bytes", [0, 200, 1 << 20])
def test_tiles_change_nothing(sets, tile_cells, kept_bytes, corner):
    def run(**options):
        inputs = [x.requires_grad_() for x in sets(n=7, m=5, bins=corner is not None)]
        scores = pair_scores(*inputs, smoothing=0.05, iterations=3, corner=corner, **options)
        (scores * torch.linspace(-1, 1, 35).reshape(7, 5)).sum().backward()
        return [scores, *(x.grad for x in inputs)]

    for whole, cut in zip(run(), run(tile_cells=tile_cells, kept_bytes=kept_bytes), strict=True):
        assert (whole - cut).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("n", "m", "cells"), [(7, 5, 1), (7, 5, 300), (1, 1, 100), (3, 1000, 4000), (5, 4, 1 << 20)]
)
def testtiling_covers_every_pair_once(n, m, cells):
    seen = torch.zeros(n, m)
    for i, j in tiling(n, m, 20, cells):
        seen[i, j] += 1
        assert seen[i, j].numel() * 20 <= max(cells, 20)
    assert (seen == 1).all()


def test_equivariant_to_orders(sets):
    left, right, a, b = sets()
    base = pair_scores(left, right, a, b, smoothing=0.05, iterations=3)
    x, y, r, w = (torch.randperm(k, generator=torch.Generator().manual_seed(k)) for k in (4, 3, 5, 4))
    moved = pair_scores(left[x][:, r], right[y][:, w], a[x][:, r], b[y][:, w], smoothing=0.05, iterations=3)
    assert (moved - base[x][:, y]).abs().max() < 1e-12


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (1, 3, 7, 1, 2), (3, 1, 1, 5, 3), (2, 2, 13, 17, 5)])
def test_odd_sizes(sets, slow, shape):
    data = sets(*shape)
    scores = pair_scores(*data, smoothing=0.05, iterations=3)
    assert scores.shape == shape[:2]
    assert (scores - slow(*data, 0.05, 3)).abs().max() < 1e-12


def test_many_iterations_reach_the_converged_plan(sets):
    ot = pytest.importorskip("ot")
    left, right, a, b = sets()
    scores = pair_scores(left, right, a, b, smoothing=0.1, iterations=500)
    for i in range(4):
        for j in range(3):
            rows, columns = a[i] > 0, b[j] > 0
            S = (left[i, rows] @ right[j, columns].T).numpy()
            plan = ot.sinkhorn(
                a[i, rows].numpy(), b[j, columns].numpy(), 1 - S, 0.1, stopThr=1e-12, numItermax=5000
            )
            assert scores[i, j].item() == pytest.approx((S * plan).sum(), abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_close(sets, dtype):
    data = sets(R=12, W=9, D=64)
    exact = pair_scores(*data, smoothing=0.05, iterations=3)
    inputs = [x.to(dtype).requires_grad_() for x in data[:2]]
    scores = pair_scores(*inputs, *(x.float() for x in data[2:]), smoothing=0.05, iterations=3)
    assert scores.dtype == torch.float32
    assert (scores - exact).abs().max() < 0.01
    scores.sum().backward()
    full = [x.clone().requires_grad_() for x in data[:2]]
    pair_scores(*full, *data[2:], smoothing=0.05, iterations=3).sum().backward()
    for half, other in zip(inputs, full, strict=True):
        assert half.grad.dtype == dtype
        assert (half.grad - other.grad).norm() < 0.05 * other.grad.norm()


def test_autocast_does_not_lower_the_precision(sets):
    data = [x.float().requires_grad_() for x in sets()]
    expected = torch.autograd.grad(pair_scores(*data, smoothing=0.05, iterations=3).sum(), data)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.autograd.grad(pair_scores(*data, smoothing=0.05, iterations=3).sum(), data)
    assert all(torch.equal(x, y) for x, y in zip(expected, found, strict=True))


def test_the_way_back_can_be_walked_twice(sets):
    data = [x.requires_grad_() for x in sets()]
    scores = pair_scores(*data, smoothing=0.05, iterations=3).sum()
    first = torch.autograd.grad(scores, data, retain_graph=True)
    second = torch.autograd.grad(scores, data)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_padding_far_more_similar_than_all_else_does_not_overflow():
    one, other = [1.0, 0.0], [-1.0, 0.0]
    left, right = torch.tensor([[one, other]]), torch.tensor([[one, other]])
    inputs = [x.requires_grad_() for x in (left, right, torch.tensor([[1.0, 0.0]]), torch.full((1, 2), 0.5))]
    scores = pair_scores(*inputs, smoothing=0.005, iterations=3)  # exp(400) in the row of no weight
    scores.sum().backward()
    assert scores.item() == pytest.approx(0.0)
    assert all(x.grad.isfinite().all() for x in inputs)


@pytest.mark.parametrize("backend", ["tensors", "numba"])
def test_padding_does_not_set_the_range_of_a_kernel(backend):
    """Both weighted rows are 200 to 400 units below the padded one in the second column."""
    left = torch.tensor([[[1.0, 0.0], [0.5, 0.75**0.5], [-1.0, 0.0]]])
    right = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    data = [left, right, torch.tensor([[0.5, 0.5, 0.0]]), torch.full((1, 2), 0.5)]
    exact = pair_scores(*(x.double() for x in data), smoothing=0.005, iterations=3)
    found = pair_scores(*data, smoothing=0.005, iterations=3, backend=backend)
    assert found.item() == pytest.approx(exact.item(), abs=1e-5)


@pytest.mark.parametrize("backend", ["tensors", "numba"])
def test_next_to_no_mass_between_fragments_leaves_gradients_finite(backend):
    """The only pair of fragments is opposite, so all mass goes to the bins but exp(-100)."""
    fragments = [torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[[-1.0], [1.0]]])]
    inputs = [x.requires_grad_() for x in (*fragments, *(torch.tensor([[0.8, 0.2]]) for _ in range(2)))]
    scores = pair_scores(*inputs, smoothing=0.02, iterations=1, corner=-10.0, backend=backend)
    scores.sum().backward()
    assert scores.item() == pytest.approx(-1.0)
    assert [x.grad.flatten().tolist() for x in inputs[:2]] == [
        pytest.approx([-1.0, 0.0], abs=1e-5),
        pytest.approx([1.0, 0.0], abs=1e-5),
    ]


def test_similarities_are_kept_up_to_the_limit(sets):
    def kept(limit):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            pair_scores(*(x.requires_grad_() for x in sets()), smoothing=0.05, iterations=3, kept_bytes=limit)
        return sum(sizes)

    similarities = 4 * 3 * 5 * 4
    assert kept(8 * similarities) - kept(8 * similarities - 1) == similarities


def test_nothing_is_kept_without_gradients(sets):
    data = sets()
    scores = pair_scores(*data, smoothing=0.05, iterations=3)
    assert not scores.requires_grad
    Z = torch.zeros(2, 5, 4, dtype=torch.float64)
    assert tiles.forward(ScoreProblem(0.05, 3), Z, data[2][:2], data[3][:2], False)[1] == []


@pytest.fixture
def fresh_compiler(monkeypatch):
    """Nothing is compiled yet and no compiler has failed."""
    monkeypatch.setattr(tensor_scores, "_attempt", Attempt(tensor_scores._attempt.warning))
    tensor_scores._compiled.cache_clear()
    yield
    tensor_scores._compiled.cache_clear()


def test_a_failing_compiler_is_reported_once_and_the_eager_code_runs(
    sets, monkeypatch, caplog, fresh_compiler
):
    from torch._dynamo.exc import BackendCompilerFailed

    def refuse(*inputs):
        raise BackendCompilerFailed(refuse, RuntimeError("no compiler here"), None)

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: refuse)
    data = [x.requires_grad_() for x in sets()]
    with caplog.at_level(logging.WARNING):
        scores = pair_scores(*data, smoothing=0.05, iterations=3, backend="torch_compile")
        scores.sum().backward()
    assert torch.equal(scores, pair_scores(*data, smoothing=0.05, iterations=3))
    assert len(caplog.records) == 1
    assert "torch.compile failed, so scoring runs uncompiled and slower" in caplog.text
    assert "no compiler here" in caplog.text


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("smoothing", [0.05, 0.01])
def test_the_form_for_the_compiler_is_equal(sets, monkeypatch, corner, smoothing, fresh_compiler):
    def run(backend):
        inputs = [x.requires_grad_() for x in sets(bins=corner is not None)]
        scores = pair_scores(*inputs, smoothing=smoothing, iterations=3, corner=corner, backend=backend)
        scores.square().sum().backward()
        return [scores, *(x.grad for x in inputs)]

    expected = run("tensors")
    calls = []
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: calls.append(function) or function)
    for one, other in zip(expected, run("torch_compile"), strict=True):
        assert (one - other).abs().max() < 1e-12
    assert calls == [tiles.forward, tiles.backward]


@pytest.mark.slow
def test_compiled_equals_eager(sets, caplog):
    def run(seed, n, backend):
        inputs = [x.requires_grad_() for x in sets(n=n, seed=seed, bins=True)]
        scores = pair_scores(*inputs, smoothing=0.05, iterations=3, corner=-10.0, backend=backend)
        scores.square().sum().backward()
        return [scores, *(x.grad for x in inputs)]

    for n in (4, 6):
        for one, other in zip(run(n, n, "tensors"), run(n, n, "torch_compile"), strict=True):
            assert (one - other).abs().max() < 1e-12
    if "torch.compile failed" in caplog.text:
        pytest.skip("no compiler on this machine")


def test_an_outer_compile_leaves_it_alone(sets):
    data = sets()
    outer = torch.compile(lambda *x: pair_scores(*x, smoothing=0.05, iterations=3) + 1, backend="eager")
    assert torch.equal(outer(*data), pair_scores(*data, smoothing=0.05, iterations=3) + 1)


def test_fragments_may_be_views_in_any_layout(sets):
    left, right, a, b = sets()

    def gradients(x, y):
        x, y = x.requires_grad_(), y.requires_grad_()
        scores = pair_scores(x, y, a, b, smoothing=0.1, iterations=2)
        return scores, torch.autograd.grad(scores.square().sum(), (x, y))

    def permuted(x):
        return x.transpose(0, 1).contiguous().transpose(0, 1).detach()

    scores, expected = gradients(left.clone(), right.clone())
    again, found = gradients(permuted(left), permuted(right))
    assert not permuted(left).is_contiguous()
    assert torch.allclose(scores, again)
    assert all(torch.allclose(x, y) for x, y in zip(expected, found, strict=True))
