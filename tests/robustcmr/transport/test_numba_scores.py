"""The compiled loops against a slow loop, and against the tensor operations in float64."""

import pytest
import torch

from robustcmr.transport import numba_scores, pair_scores
from robustcmr.transport.numba_scores import Words

pytest.importorskip("numba")

CORNERS = [None, -10.0, 0.3]
# the bins' similarity and the score, where they are not what a corner alone says
BINS = [(None, "mean"), (None, "sum"), (0.3, "sum")]

# sets on either side, fragments of each, and width
SHAPES = [(1, 1, 2, 2, 1), (3, 1, 5, 1, 3), (16, 6, 1, 9, 4), (37, 9, 13, 17, 5)]

# a bin needs a fragment beside it
CASES = [(shape, corner) for shape in SHAPES for corner in CORNERS if corner is None or 1 not in shape[2:4]]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Fewer, as many and more left sets than a block takes."""
    monkeypatch.setattr(numba_scores, "_LEFT_SETS", 16)


def run(sets, backend, dtype, shape, corner=None, smoothing=0.05, iterations=3, **options):
    """Scores and the gradients of a weighted sum of them."""
    has_bins = corner is not None or "bins" in options
    inputs = [x.requires_grad_() for x in sets(*shape, dtype=dtype, bins=has_bins)]
    scores = pair_scores(
        *inputs, smoothing=smoothing, iterations=iterations, corner=corner, backend=backend, **options
    )
    (scores * torch.linspace(-1, 1, scores.numel(), dtype=dtype).view_as(scores)).sum().backward()
    return [scores.detach(), *(x.grad for x in inputs)]


def relative_difference(found, expected):
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=0.1)).item()


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("iterations", [1, 3])
def test_equals_the_released_formula(sets, slow, corner, iterations):
    data = sets(n=18, m=5, R=6, W=7, bins=corner is not None)
    found = pair_scores(
        *(x.float() for x in data), smoothing=0.05, iterations=iterations, corner=corner, backend="numba"
    )
    assert found.dtype == torch.float32
    assert (found - slow(*data, 0.05, iterations, corner)).abs().max() < 1e-5


@pytest.mark.parametrize("smoothing", [0.3, 0.05, 0.02, 0.01])  # plain and shifted kernels
@pytest.mark.parametrize("iterations", [1, 4])
@pytest.mark.parametrize(("shape", "corner"), CASES)
def test_scores_and_all_gradients_equal_those_in_double_precision(sets, shape, iterations, smoothing, corner):
    options = {"corner": corner, "smoothing": smoothing, "iterations": iterations}
    exact = run(sets, "tensors", torch.float64, shape, **options)
    # gradients sum some hundred terms; exponents are products, rounded by some eps, over the smoothing
    rounding = torch.finfo(torch.float32).eps * (128 + 8 / smoothing)
    for found, expected in zip(run(sets, "numba", torch.float32, shape, **options), exact, strict=True):
        assert relative_difference(found, expected) < rounding


@pytest.mark.parametrize(("corner", "bins"), BINS)
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[-1]])
@pytest.mark.parametrize("smoothing", [0.05, 0.02])
def test_bins_score_as_in_double_precision(sets, shape, corner, bins, smoothing):
    options = {"corner": corner, "bins": bins, "smoothing": smoothing}
    exact = run(sets, "tensors", torch.float64, shape, **options)
    rounding = torch.finfo(torch.float32).eps * (128 + 8 / smoothing)
    for found, expected in zip(run(sets, "numba", torch.float32, shape, **options), exact, strict=True):
        assert relative_difference(found, expected) < rounding


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("options", [{"tile_cells": 1}, {"tile_cells": 3000}, {"kept_bytes": 0}])
def test_tiles_and_what_is_kept_change_nothing(sets, corner, options):
    whole = run(sets, "numba", torch.float32, SHAPES[-1], corner)
    for found, expected in zip(
        run(sets, "numba", torch.float32, SHAPES[-1], corner, **options), whole, strict=True
    ):
        assert relative_difference(found, expected) < 1e-5


def test_runs_cover_every_right_set_once(sets):
    _, right, _, b = (x.float() for x in sets(*SHAPES[-1]))
    words = Words.of(right, b)
    assert words.ends[-1] == (b > 0).sum() < b.numel()
    for most in (1, 40, 1000):
        seen = [j for run in words.runs(most) for j in range(run.start, run.stop)]
        assert seen == list(range(9))
        for run in words.runs(most):
            part, where = words.part(run), words.where(run)
            assert len(part.weights) == where.stop - where.start <= max(most, 17)
            assert torch.equal(part.fragments, right.flatten(0, 1)[b.flatten() > 0][where])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(sets, threads, monkeypatch):
    alone = run(sets, "numba", torch.float32, SHAPES[-1], -10.0)
    pools = []
    inner = numba_scores._pool
    monkeypatch.setattr(numba_scores, "_pool", lambda threads: pools.append(threads) or inner(threads))
    monkeypatch.setattr(numba_scores, "_FEWEST_CELLS", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shared = run(sets, "numba", torch.float32, SHAPES[-1], -10.0)
    finally:
        torch.set_num_threads(before)
    assert set(pools) == {threads}
    for found, expected in zip(shared, alone, strict=True):
        assert relative_difference(found, expected) < 1e-5


@pytest.mark.parametrize("smoothing", [0.05, 0.01])
def test_sets_without_weights_score_zero_and_get_no_gradient(sets, smoothing):
    left, right, a, b = (x.float() for x in sets(n=5))
    a[2], b[0] = 0.0, 0.0
    inputs = [x.requires_grad_() for x in (left, right, a, b)]
    scores = pair_scores(*inputs, smoothing=smoothing, iterations=3, backend="numba")
    scores.sum().backward()
    assert (scores[2] == 0).all()
    assert (scores[:, 0] == 0).all()
    assert (scores[:2, 1:] != 0).all()
    assert (left.grad[2] == 0).all()
    assert (left.grad[1, 1:3] == 0).all()  # regions of no weight, of a set that has some
    assert (right.grad[-1, 0] == 0).all()
    assert all(x.grad.isfinite().all() for x in inputs)


@pytest.mark.parametrize("smoothing", [0.05, 0.01])
def test_a_caption_without_a_bin_among_others_that_have_one(sets, smoothing):
    def gradients(backend, dtype):
        left, right, a, b = sets(n=4, m=5, dtype=dtype, bins=True)
        b = torch.cat([b[:3], torch.cat([b[3:, :-1], torch.zeros_like(b[3:, -1:])], 1)])
        inputs = [x.requires_grad_() for x in (left, right, a, b)]
        scores = pair_scores(*inputs, smoothing=smoothing, iterations=3, corner=-10.0, backend=backend)
        scores.square().sum().backward()
        return [scores.detach(), *(x.grad for x in inputs)]

    for found, expected in zip(
        gradients("numba", torch.float32), gradients("tensors", torch.float64), strict=True
    ):
        assert relative_difference(found, expected) < 5e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(sets, dtype):
    data = sets(n=20, m=6, R=12, W=9, D=64)
    exact = pair_scores(*data, smoothing=0.05, iterations=3)
    inputs = [x.to(dtype).requires_grad_() for x in data[:2]]
    scores = pair_scores(
        *inputs, *(x.float() for x in data[2:]), smoothing=0.05, iterations=3, backend="numba"
    )
    scores.sum().backward()
    assert scores.dtype == torch.float32
    assert (scores - exact).abs().max() < 0.01
    assert all(x.grad.dtype == dtype for x in inputs)


def test_the_way_back_can_be_walked_twice(sets):
    inputs = [x.float().requires_grad_() for x in sets(n=20)]
    scores = pair_scores(*inputs, smoothing=0.05, iterations=3, backend="numba").sum()
    first = torch.autograd.grad(scores, inputs, retain_graph=True)
    second = torch.autograd.grad(scores, inputs)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_padding_far_more_similar_than_all_else_does_not_overflow():
    one, other = [1.0, 0.0], [-1.0, 0.0]
    left, right = torch.tensor([[one, other]]), torch.tensor([[one, other]])
    inputs = [x.requires_grad_() for x in (left, right, torch.tensor([[1.0, 0.0]]), torch.full((1, 2), 0.5))]
    scores = pair_scores(*inputs, smoothing=0.005, iterations=3, backend="numba")
    scores.sum().backward()
    assert scores.item() == pytest.approx(0.0, abs=1e-6)
    assert all(x.grad.isfinite().all() for x in inputs)


def test_nothing_is_kept_without_gradients_and_no_more_than_allowed_with_them(sets):
    def kept(limit, n):
        sizes = []
        inputs = [x.float().requires_grad_() for x in sets(n=n, m=3)]
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            pair_scores(*inputs, smoothing=0.05, iterations=3, kept_bytes=limit, backend="numba")
        return sum(sizes)

    similarities = 11 * 5 * 4  # words that have weight, regions, left sets
    assert kept(4 * similarities, 4) - kept(4 * similarities - 1, 4) == similarities
    with torch.no_grad():
        assert not pair_scores(
            *(x.float() for x in sets()), smoothing=0.05, iterations=3, backend="numba"
        ).requires_grad


def test_auto_takes_the_loops_where_it_can(sets, monkeypatch):
    seen = []
    inner = numba_scores.forward
    monkeypatch.setattr(numba_scores, "forward", lambda *x: seen.append(x[0].left.dtype) or inner(*x))
    data = sets()
    pair_scores(*data, smoothing=0.05, iterations=3)
    assert seen == []  # double precision
    pair_scores(*(x.float() for x in data), smoothing=0.05, iterations=3, backend="tensors")
    assert seen == []
    pair_scores(*(x.float() for x in data), smoothing=0.05, iterations=3)
    assert seen == [torch.float32]
    with pytest.raises(ValueError, match=r"float32 and half precision on the CPU, got torch\.float64 on cpu"):
        pair_scores(*data, smoothing=0.05, iterations=3, backend="numba")


def test_without_numba_tensor_operations_run_and_it_is_said_once(sets, monkeypatch, caplog):
    monkeypatch.setattr(numba_scores, "find_spec", lambda name: None)
    numba_scores.available.cache_clear()
    try:
        data = [x.float() for x in sets()]
        with caplog.at_level("WARNING"):
            for _ in range(2):
                found = pair_scores(*data, smoothing=0.05, iterations=3)
        assert torch.equal(found, pair_scores(*data, smoothing=0.05, iterations=3, backend="tensors"))
        assert [record.message for record in caplog.records] == [
            "numba is not installed, so transport scores take several times as long on the CPU"
        ]
    finally:
        numba_scores.available.cache_clear()
