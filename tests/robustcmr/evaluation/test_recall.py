from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from robustcmr.errors import UserError
from robustcmr.evaluation.recall import RetrievalMetrics, mean_metrics, retrieval_metrics, retrieval_ranks


def by_sorting(scores: np.ndarray, owner: np.ndarray) -> dict[str, float]:
    """The field's computation: sort every query, find its answer; for scores without ties."""
    ranks = {
        "i2t": [
            min(int(np.where(np.argsort(-row) == c)[0][0]) for c in np.where(owner == i)[0])
            for i, row in enumerate(scores)
        ],
        "t2i": [int(np.where(np.argsort(-column) == owner[c])[0][0]) for c, column in enumerate(scores.T)],
    }
    found: dict[str, float] = {}
    for name, values in ranks.items():
        array = np.array(values)
        for k in (1, 5, 10):
            found[f"{name}_r{k}"] = 100.0 * float(np.mean(array < k))
        found[f"{name}_median_rank"] = float(np.floor(np.median(array)) + 1)
        found[f"{name}_mean_rank"] = float(array.mean() + 1)
    return found


def random_problem(seed: int, n_images: int = 40, n_captions: int = 130) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    owner = rng.permutation(
        np.concatenate([np.arange(n_images), rng.integers(0, n_images, n_captions - n_images)])
    )
    scores = rng.normal(size=(n_images, n_captions))
    scores[owner, np.arange(n_captions)] += 1.5
    return scores.astype(np.float32), owner


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_sorting(seed: int) -> None:
    scores, owner = random_problem(seed)
    metrics = retrieval_metrics(torch.from_numpy(scores), owner)
    expected = by_sorting(scores, owner)
    found = metrics.to_dict()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value), key
    six = [value for key, value in expected.items() if "_r" in key and key[-1] in "015"]
    assert len(six) == 6
    assert metrics.rsum == found["rsum"] == pytest.approx(sum(six))
    assert (metrics.n_images, metrics.n_captions) == (40, 130)
    assert 0 < metrics.i2t_r1 < metrics.i2t_r5 < metrics.i2t_r10 < 100
    ranks = retrieval_ranks(torch.from_numpy(scores), owner)
    assert (tuple(ranks.i2t.shape), tuple(ranks.t2i.shape)) == ((40,), (130,))
    assert ranks.metrics() == metrics


@pytest.mark.parametrize("n_images", [4, 5])
def test_median_rank_is_rounded_down_as_in_the_field(n_images: int) -> None:
    # Caption i is beaten by i images, so the ranks counted from 1 are 1, 2, ..., n.
    scores = torch.zeros(n_images, n_images)
    for caption in range(n_images):
        others = [image for image in range(n_images) if image != caption]
        scores[caption, caption] = 1.0
        scores[others[:caption], caption] = 2.0
    metrics = retrieval_metrics(scores, torch.arange(n_images))
    assert metrics.t2i_median_rank == {4: 2.0, 5: 3.0}[n_images]
    assert metrics.t2i_mean_rank == pytest.approx((n_images + 1) / 2)


def test_perfect_and_constant_scorers() -> None:
    perfect = retrieval_metrics(torch.eye(30), torch.arange(30))
    assert perfect.rsum == 600.0
    assert perfect.i2t_median_rank == perfect.i2t_mean_rank == perfect.t2i_median_rank == 1.0
    constant = retrieval_metrics(torch.zeros(30, 30), torch.arange(30))
    assert constant.rsum == 0.0
    assert constant.t2i_mean_rank == 30.0


def test_permuting_images_and_captions_together_changes_nothing() -> None:
    scores, owner = random_problem(9)
    rng = np.random.default_rng(1)
    images, captions = rng.permutation(40), rng.permutation(130)
    place = np.empty(40, dtype=np.int64)
    place[images] = np.arange(40)
    moved = torch.from_numpy(scores[images][:, captions])
    assert retrieval_metrics(moved, place[owner[captions]]) == retrieval_metrics(
        torch.from_numpy(scores), owner
    )


def test_nan_is_refused() -> None:
    with pytest.raises(UserError, match="NaN"):
        retrieval_metrics(torch.full((2, 2), torch.nan), torch.arange(2))


def test_to_dict_is_plain_json() -> None:
    metrics = retrieval_metrics(torch.eye(12), torch.arange(12))
    found = metrics.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {
        *(f"{d}_{m}" for d in ("i2t", "t2i") for m in ("r1", "r5", "r10", "median_rank", "mean_rank")),
        *("n_images", "n_captions", "rsum"),
    }


def test_mean_of_folds_keeps_every_metric_in_its_place() -> None:
    first = RetrievalMetrics(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
    second = RetrievalMetrics(3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36)
    assert mean_metrics([first, second]) == RetrievalMetrics(2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 44, 48)
    with pytest.raises(ValueError, match="at least one fold"):
        mean_metrics([])
