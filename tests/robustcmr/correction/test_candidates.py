"""Blocked search for the best images against a full sort, and shortlists that are scored again."""

import pytest
import torch

from robustcmr.correction import candidates as module
from robustcmr.correction.candidates import Candidates, RunningBest, nearest_candidates, reranked
from robustcmr.errors import TrainingDivergedError


def whole_vectors(n=13, m=37, d=8):
    """Vectors of whole numbers, whose products and sums are exact in float32 in any order."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randint(-1000, 1001, (k, d), generator=generator).float() for k in (n, m))


def vectors(n=13, m=37, d=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.nn.functional.normalize(torch.randn(k, d, generator=generator), dim=-1) for k in (n, m)
    )


def sorted_out(scores, excluded, k):
    """The k best of each row by a plain sort, without the excluded ones."""
    held = scores.clone()
    for row, column in enumerate(excluded.tolist()):
        if column >= 0:
            held[row, column] = -torch.inf
    values, places = held.sort(dim=1, descending=True, stable=True)
    return values[:, :k], places[:, :k]


@pytest.mark.parametrize("m", [1, 7, 37, 801])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("block_bytes", [1, 30_000, 2**20])
def test_the_best_are_those_of_a_full_sort(m, k, block_bytes):
    texts, images = whole_vectors(m=m)
    excluded = torch.arange(13) % (m + 1) - 1
    found = nearest_candidates(texts, images, k, excluded, block_bytes=block_bytes)
    values, places = sorted_out(texts @ images.T, excluded, k)
    there = values > -torch.inf
    assert torch.equal(found.images, torch.where(there, places, -1))
    assert torch.equal(found.scores, values)
    assert (found.search, found.scored) == ("vectors", 13 * m)


def test_nothing_is_excluded_unless_said():
    _, images = vectors()
    found = nearest_candidates(images, images, 1)
    assert torch.equal(found.images[:, 0], torch.arange(37))
    own = nearest_candidates(images, images, 37, torch.arange(37))
    assert (own.images[:, -1] == -1).all()
    assert not (own.images == torch.arange(37).unsqueeze(1)).any()


@pytest.mark.parametrize("m", [63, 64, 65, 71, 72, 1000, 1003])
def test_looking_at_groups_first_misses_nothing(m):
    scores = torch.randn(9, m, generator=torch.Generator().manual_seed(m))
    scores[0], scores[1, m // 2 :], scores[2, -1] = 1.0, -torch.inf, 9.0
    values, places = module._best(scores, 1)
    assert torch.equal(values, scores.topk(1, dim=1).values)
    assert torch.equal(scores.gather(1, places), values)
    k = min(6, m)
    values, places = module._best(scores, k)
    assert torch.equal(values, scores.topk(k, dim=1).values)
    assert torch.equal(scores.gather(1, places), values)
    assert all(len(set(row)) == k for row in places.tolist())


def test_half_precision_is_scored_again_in_full():
    texts, images = vectors(n=40, m=900, d=32)
    exact = nearest_candidates(texts, images, 10)
    half = nearest_candidates(texts, images, 10, half=True, block_bytes=100_000)
    rounding = 32 * torch.finfo(torch.float32).eps  # of 32 products, which sum to 1 at most
    assert torch.allclose(half.scores, exact.scores, rtol=0, atol=rounding)
    assert (half.images == exact.images).float().mean() > 0.99
    own = nearest_candidates(images[:50], images, 3, torch.arange(50), half=True)
    assert not (own.images == torch.arange(50).unsqueeze(1)).any()
    few = nearest_candidates(texts, images[:2], 5, torch.zeros(40, dtype=torch.int64), half=True)
    assert few.images.tolist() == [[1, -1]] * 40


def test_blocks_of_scores_in_any_order_give_the_same():
    texts, images = whole_vectors()
    scores, excluded = texts @ images.T, torch.arange(13) - 1
    whole = nearest_candidates(texts, images, 6, excluded)
    best = RunningBest(13, 6, excluded)
    for rows, columns in (((5, 13), (20, 37)), ((0, 5), (0, 37)), ((5, 13), (0, 2)), ((5, 13), (2, 20))):
        best.add(slice(*rows), columns[0], scores[slice(*rows), slice(*columns)])
    found = best.candidates()
    assert torch.equal(found.images, whole.images)
    assert torch.equal(found.scores, whole.scores)
    assert (found.search, found.scored) == ("all", 13 * 37)


def test_fewer_images_than_asked_for_leave_gaps():
    best = RunningBest(2, 4, torch.tensor([0, -1]))
    best.add(slice(0, 2), 0, torch.tensor([[9.0, 2.0], [3.0, 4.0]]))
    found = best.candidates()
    assert found.images.tolist() == [[1, -1, -1, -1], [1, 0, -1, -1]]
    rows, images, scores = found.edges()
    assert (rows.tolist(), images.tolist(), scores.tolist()) == ([0, 1, 1], [1, 1, 0], [2.0, 4.0, 3.0])


def test_a_shortlist_is_sorted_by_its_exact_scores():
    listed = Candidates(torch.tensor([[4, 7, 9], [3, -1, -1]]), torch.zeros(2, 3), 0, "shortlist")
    exact = torch.tensor([[0.1, 0.3, 0.2], [0.5, 8.0, torch.nan]])
    found = reranked(listed, exact, 2)
    assert found.images.tolist() == [[7, 9], [3, -1]]
    assert found.scores[0].tolist() == pytest.approx([0.3, 0.2])
    assert (found.scored, found.search) == (4, "shortlist")
    assert reranked(listed, exact, 9).images.tolist() == [[7, 9, 4], [3, -1, -1]]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_diverged_are_refused(bad):
    texts, images = vectors()
    texts[3, 0] = bad
    with pytest.raises(TrainingDivergedError, match="NaN or infinite"):
        nearest_candidates(texts, images, 2)
    with pytest.raises(TrainingDivergedError):
        RunningBest(1, 1, torch.tensor([-1])).add(slice(0, 1), 0, torch.tensor([[1.0, bad]]))
    listed = Candidates(torch.tensor([[0, 1]]), torch.zeros(1, 2), 0, "shortlist")
    with pytest.raises(TrainingDivergedError):
        reranked(listed, torch.tensor([[1.0, bad]]), 1)


def test_bad_input_is_refused():
    texts, images = vectors()
    with pytest.raises(ValueError, match=r"expected vectors \(N, D\) and \(M, D\)"):
        nearest_candidates(texts, images[:, :3], 2)
    with pytest.raises(ValueError, match="no image to choose from"):
        nearest_candidates(texts, images[:0], 2)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        nearest_candidates(texts, images, 0)
    with pytest.raises(ValueError, match="one excluded image a caption, 13"):
        nearest_candidates(texts, images, 2, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must lie in -1\.\.36"):
        nearest_candidates(texts, images, 2, torch.full((13,), 37))
    with pytest.raises(ValueError, match="k >= 1"):
        RunningBest(2, 0, torch.tensor([0, 0]))
    with pytest.raises(ValueError, match=r"\(N, k\)"):
        Candidates(torch.zeros(3, dtype=torch.int64), torch.zeros(3), 0, "all")
    with pytest.raises(ValueError, match="k >= 1"):
        reranked(
            Candidates(torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2), 0, "all"), torch.ones(1), 1
        )
