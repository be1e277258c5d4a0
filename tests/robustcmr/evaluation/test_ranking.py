from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from robustcmr.errors import UserError
from robustcmr.evaluation import rank_kernels, ranking
from robustcmr.evaluation.ranking import owner_index, ranks_both_ways


def sorted_ranks(scores: np.ndarray, owner: np.ndarray) -> tuple[list[int], list[int]]:
    """Sort every query with its own answers behind all equals, and find the first of them."""
    by_image = []
    for image, row in enumerate(scores):
        wrong_first = sorted(range(len(row)), key=lambda c: (-row[c], owner[c] == image))
        # Own captions do not count against each other: the first own one has only wrong ones before it.
        by_image.append(next(place for place, c in enumerate(wrong_first) if owner[c] == image))
    by_caption = []
    for caption, column in enumerate(scores.T):
        wrong_first = sorted(range(len(column)), key=lambda i: (-column[i], i == owner[caption]))
        by_caption.append(wrong_first.index(owner[caption]))
    return by_image, by_caption


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n_images = draw(st.integers(1, 6))
    extra = draw(st.lists(st.integers(0, n_images - 1), max_size=8))
    owner = np.array(draw(st.permutations(list(range(n_images)) + extra)), dtype=np.int64)
    values = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0, np.inf])  # few values, so many ties
    cells = draw(st.lists(values, min_size=n_images * len(owner), max_size=n_images * len(owner)))
    return np.array(cells, dtype=np.float32).reshape(n_images, len(owner)), owner


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(problems(), st.sampled_from([1, 7, 1 << 20]), st.booleans())
def test_ranks_equal_sorting_with_ties_any_block_and_compiled(
    problem: tuple[np.ndarray, np.ndarray], cells: int, compiled: bool
) -> None:
    scores, owner = problem
    before = ranking._BLOCK_CELLS, ranking._COMPILED_CELLS
    ranking._BLOCK_CELLS, ranking._COMPILED_CELLS = cells, 0 if compiled else 1 << 40
    try:
        by_image, by_caption = ranks_both_ways(torch.from_numpy(scores), owner)
        assert ranks_both_ways(torch.from_numpy(scores), torch.from_numpy(owner))[1].equal(by_caption)
    finally:
        ranking._BLOCK_CELLS, ranking._COMPILED_CELLS = before
    expected_image, expected_caption = sorted_ranks(scores, owner)
    assert by_image.tolist() == expected_image
    assert by_caption.tolist() == expected_caption
    assert by_image.dtype == by_caption.dtype == torch.int64


def test_ranks_equal_sorting_on_a_larger_problem() -> None:
    rng = np.random.default_rng(0)
    owner = rng.permutation(np.concatenate([np.arange(60), rng.integers(0, 60, 240)]))
    scores = rng.normal(size=(60, 300)).astype(np.float32)
    expected_image, expected_caption = sorted_ranks(scores, owner)
    assert ranks_both_ways(torch.from_numpy(scores), owner)[0].tolist() == expected_image
    assert ranks_both_ways(torch.from_numpy(scores), owner)[1].tolist() == expected_caption


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n_images", [193, 196])
def test_the_compiled_loop_counts_as_tensors_do(
    n_images: int, threads: int, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    owner = np.concatenate([np.arange(n_images), rng.integers(0, n_images, 2100)])  # wider than a tile
    scores = torch.from_numpy(rng.integers(0, 40, (n_images, len(owner))).astype(dtype))  # many ties
    scores[5, 7], scores[6, 2050] = torch.inf, -torch.inf
    expected = ranks_both_ways(scores, owner)
    used = []
    loop = rank_kernels.counts
    monkeypatch.setattr(rank_kernels, "counts", lambda *given: used.append(True) or loop(*given))
    monkeypatch.setattr(ranking, "_COMPILED_CELLS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = ranks_both_ways(scores, owner)
    assert used == [True]
    assert [ranks.tolist() for ranks in found] == [ranks.tolist() for ranks in expected]


@pytest.mark.parametrize("scores", [torch.rand(8, 4).T, torch.rand(4, 8).half()], ids=["turned", "half"])
def test_what_the_loop_cannot_read_is_counted_by_tensors(
    scores: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = np.arange(8, dtype=np.int64) // 2
    expected = ranks_both_ways(scores, owner)
    monkeypatch.setattr(ranking, "_COMPILED_CELLS", 0)
    monkeypatch.setattr(rank_kernels, "counts", lambda *_: pytest.fail("went to the loop"))
    assert [r.tolist() for r in ranks_both_ways(scores, owner)] == [r.tolist() for r in expected]


def test_without_numba_tensors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_COMPILED_CELLS", 0)
    monkeypatch.setattr(ranking, "find_spec", lambda _: None)
    monkeypatch.setattr(rank_kernels, "counts", lambda *_: pytest.fail("went to the loop"))
    assert [r.tolist() for r in ranks_both_ways(torch.eye(3), torch.arange(3))] == [[0, 0, 0], [0, 0, 0]]


def test_a_constant_scorer_is_ranked_last() -> None:
    owner = np.arange(10, dtype=np.int64) // 2
    scores = torch.full((5, 10), 0.3)
    assert ranks_both_ways(scores, owner)[0].tolist() == [8] * 5
    assert ranks_both_ways(scores, owner)[1].tolist() == [4] * 10


def test_own_captions_do_not_count_against_each_other() -> None:
    owner = np.array([0, 0, 0, 1], dtype=np.int64)
    scores = torch.tensor([[0.9, 0.9, 0.1, 0.5], [0.0, 0.0, 0.0, 1.0]])
    assert ranks_both_ways(scores, owner)[0].tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(dtype: torch.dtype) -> None:
    scores = torch.eye(4, dtype=dtype)
    assert ranks_both_ways(scores, torch.arange(4))[0].tolist() == [0] * 4
    assert ranks_both_ways(scores, torch.arange(4))[1].tolist() == [0] * 4


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("place", [(0, 0), (3, 7), (2, 1), (4, 7)])
def test_nan_is_refused_wherever_it_is(
    place: tuple[int, int], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "_BLOCK_CELLS", 8)
    monkeypatch.setattr(ranking, "_COMPILED_CELLS", 0 if compiled else 1 << 40)
    scores = torch.rand(5, 8)
    scores[place] = torch.nan
    with pytest.raises(UserError, match="holds NaN"):
        ranks_both_ways(scores, torch.arange(8).clamp(max=4))


def test_a_read_only_array_is_taken() -> None:
    owner = np.arange(3, dtype=np.int64)
    owner.setflags(write=False)
    assert ranks_both_ways(torch.eye(3), owner)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        (np.array([0, 2], dtype=np.int64), "image 1 has no caption"),
        (np.array([0, 3], dtype=np.int64), r"must lie in 0..2, got 0..3"),
        (np.array([-1, 0], dtype=np.int64), r"got -1..0"),
        (np.array([0, 1], dtype=np.int32), "int32"),
        (np.array([[0, 1]], dtype=np.int64), r"\(1, 2\)"),
        (np.array([], dtype=np.int64), "empty"),
    ],
)
def test_bad_pairings_are_refused(owner: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        owner_index(owner, 3)


def test_bad_scores_are_refused() -> None:
    owner = np.array([0, 1], dtype=np.int64)
    with pytest.raises(ValueError, match="3 columns of scores for 2 captions"):
        ranks_both_ways(torch.rand(2, 3), owner)
    with pytest.raises(ValueError, match="float matrix"):
        ranks_both_ways(torch.rand(2), owner)
    with pytest.raises(ValueError, match="float matrix"):
        ranks_both_ways(torch.ones(2, 2, dtype=torch.int64), owner)
