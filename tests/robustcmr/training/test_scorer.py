from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.config.resolve import resolve
from robustcmr.tracks.pairs import PairsTrack
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.types import PairBatch


@pytest.fixture
def scored(tiny_tree: dict[str, Any]) -> Any:
    config = resolve({**tiny_tree, "augmentation": {"drop_regions": 0.5, "corrupt_words": 0.5}})
    track = PairsTrack.build(config)
    torch.manual_seed(0)
    matcher = config.matcher.cls(config.matcher.options, track.spec)

    def make(batch_size: int = 16, epoch: int = 0, after: Any = None) -> TrainingSetScorer:
        return TrainingSetScorer(
            track.training, batch_size, torch.device("cpu"), seed=4, epoch=epoch, after_batch=after
        )

    return track, matcher, make


def test_the_pairs_own_scores_come_back_in_order(scored: Any) -> None:
    track, matcher, make = scored
    got = make()(lambda scores, batch: scores.diagonal(), matcher)
    matcher.eval()
    expected = [  # one pair at a time, nothing hidden by augmentation
        matcher(batch.images, batch.texts).item()
        for batch in (track.training.batch(np.array([i])) for i in range(len(track.training)))
    ]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert got.dtype == np.float32


def test_batches_are_shuffled_by_epoch_and_nearly_even(scored: Any) -> None:
    _, matcher, make = scored
    seen: list[list[list[int]]] = []
    for epoch in (0, 0, 1):
        seen.append([])

        def note(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
            seen[-1].append(batch.pair_ids.tolist())
            return scores.diagonal()

        make(30, epoch)(note, matcher)
    assert sorted(i for batch in seen[0] for i in batch) == list(range(200))
    assert {len(batch) for batch in seen[0]} <= {28, 29}
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]
    assert seen[0][0] != sorted(seen[0][0])


def test_mode_is_evaluation_and_comes_back_even_after_an_error(scored: Any) -> None:
    _, matcher, make = scored
    modes = []

    def look(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        modes.append((matcher.training, scores.requires_grad))
        return scores.diagonal()

    matcher.train()
    make()(look, matcher)
    assert set(modes) == {(False, False)}
    assert matcher.training

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(after=stop)(look, matcher)
    assert matcher.training
