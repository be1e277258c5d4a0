from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.errors import ConfigError
from robustcmr.training.batches import EpochBatches, check_batch_size, step_ids
from robustcmr.types import EpochPlan, ImageBatch, PairBatch, TextBatch


def ids(n: int, start: int = 0) -> Any:
    return np.arange(start, start + n, dtype=np.int64)


class Pairs:
    """Pairs whose image is one number: the pair's id, plus chance where a generator is given."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    in_memory = False

    def batch(self, pair_ids: Any, generator: np.random.Generator | None = None) -> PairBatch:
        chance = 0.0 if generator is None else generator.random(len(pair_ids))
        features = torch.from_numpy(np.asarray(pair_ids + chance)).reshape(-1, 1, 1)
        mask = torch.ones(len(pair_ids), 1, dtype=torch.bool)
        tokens = torch.ones(len(pair_ids), 1, dtype=torch.int64)
        same = torch.eye(len(pair_ids), dtype=torch.bool)
        return PairBatch(
            ImageBatch(features, mask), TextBatch(tokens, mask), torch.from_numpy(pair_ids), same
        )


def test_every_pair_at_most_once_and_only_the_last_batch_left_out() -> None:
    steps = step_ids(EpochPlan({"all": ids(103)}), 10, seed=1, epoch=0)
    seen = np.concatenate([step["all"] for step in steps])
    assert len(steps) == 10
    assert all(len(step["all"]) == 10 for step in steps)
    assert len(np.unique(seen)) == 100


def test_order_follows_seed_and_epoch_alone() -> None:
    plan = EpochPlan({"all": ids(50)})

    def order(seed: int, epoch: int) -> list[int]:
        return [int(i) for step in step_ids(plan, 5, seed, epoch) for i in step["all"]]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != sorted(order(1, 0))


def test_longest_stream_sets_the_steps_and_short_ones_start_over() -> None:
    steps = step_ids(EpochPlan({"clean": ids(40), "noisy": ids(13, 100)}), 10, 0, 0)
    assert len(steps) == 4
    first_round = {int(i) for i in steps[0]["noisy"]}
    assert all(len(step["noisy"]) == 10 for step in steps)
    assert len(first_round) == 10
    assert all(set(step["noisy"]) <= set(range(100, 113)) for step in steps)
    assert {int(i) for step in steps for i in step["noisy"]} == set(range(100, 113))


def test_stream_smaller_than_a_batch_gives_all_it_has_each_step() -> None:
    steps = step_ids(EpochPlan({"clean": ids(30), "noisy": ids(3, 100), "none": ids(0)}), 10, 0, 0)
    assert [sorted(step["noisy"].tolist()) for step in steps] == [[100, 101, 102]] * 3
    assert all("none" not in step for step in steps)


def test_less_than_one_batch_is_one_step() -> None:
    assert [len(step["all"]) for step in step_ids(EpochPlan({"all": ids(4)}), 10, 0, 0)] == [4]


def test_a_plan_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        step_ids(EpochPlan({"all": ids(0)}), 10, 0, 0)


def test_batch_larger_than_the_data() -> None:
    check_batch_size(10, 10)
    with pytest.raises(ConfigError, match=r"11 .* 10 training pairs"):
        check_batch_size(11, 10)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_the_middle_equal_those_of_a_whole_epoch(workers: int) -> None:
    steps = step_ids(EpochPlan({"all": ids(60), "more": ids(20)}), 10, 3, 2)
    batches = EpochBatches(Pairs(60), steps, 3, 2)
    before = torch.get_rng_state()
    whole = list(batches.from_step(0, 0))
    tail = list(batches.from_step(4, workers))
    assert torch.equal(torch.get_rng_state(), before)  # reading draws nothing from the global generator
    assert len(whole) == 6
    assert len(tail) == 2
    for a, b in zip(whole[4:], tail, strict=True):
        for name in ("all", "more"):
            assert torch.equal(a[name].pair_ids, b[name].pair_ids)
            assert torch.equal(a[name].images.features, b[name].images.features)


def test_augmentation_differs_between_steps_epochs_and_streams() -> None:
    same = [{"a": ids(4), "b": ids(4)}, {"a": ids(4), "b": ids(4)}]
    chances = [
        (batch[name].images.features.flatten() - torch.arange(4)).tolist()
        for epoch in (0, 1)
        for batch in EpochBatches(Pairs(4), same, 0, epoch).from_step(0, 0)
        for name in ("a", "b")
    ]
    assert len({tuple(chance) for chance in chances}) == 8
