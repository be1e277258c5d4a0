from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.errors import ConfigError, DataError
from robustcmr.training.batches import EpochBatches, batches_of, check_batch_size, step_ids
from robustcmr.types import EpochPlan, ImageBatch, PairBatch, TextBatch


def ids(n: int, start: int = 0) -> Any:
    return np.arange(start, start + n, dtype=np.int64)


class Pairs:
    """Pairs whose image is one number: the id of its pair, plus chance where a generator is given."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    in_memory = False

    def batch(
        self, pair_ids: Any, generator: np.random.Generator | None = None, image_from: Any = None
    ) -> PairBatch:
        chance = 0.0 if generator is None else generator.random(len(pair_ids))
        given = pair_ids if image_from is None else image_from
        features = torch.from_numpy(np.asarray(given + chance)).reshape(-1, 1, 1)
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


@pytest.mark.parametrize("workers", [0, 1])
def test_captions_come_with_the_images_of_the_pairs_that_the_plan_names(workers: int) -> None:
    steps = step_ids(EpochPlan({"all": ids(20), "more": ids(10, 5)}), 5, 3, 2)
    source = np.random.default_rng(0).integers(0, 20, 20)
    whole = list(EpochBatches(Pairs(20), steps, 3, 2, source).from_step(0, workers))
    assert len(whole) == len(steps) == 4
    for step, found in zip(steps, whole, strict=True):
        for name in ("all", "more"):
            assert found[name].pair_ids.tolist() == step[name].tolist()
            images = found[name].images.features.flatten().floor().long()
            assert images.tolist() == source[step[name]].tolist()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_mistake_is_one_sentence_from_any_process(workers: int) -> None:
    class Broken(Pairs):
        def batch(self, *_: Any) -> PairBatch:
            raise DataError("cannot read the picture a.jpg")

    steps = step_ids(EpochPlan({"all": ids(20)}), 10, 3, 2)
    with pytest.raises(DataError) as caught:
        list(EpochBatches(Broken(20), steps, 3, 2).from_step(0, workers))
    assert str(caught.value) == "cannot read the picture a.jpg"


def test_augmentation_differs_between_steps_epochs_and_streams() -> None:
    same = [{"a": ids(4), "b": ids(4)}, {"a": ids(4), "b": ids(4)}]
    chances = [
        (batch[name].images.features.flatten() - torch.arange(4)).tolist()
        for epoch in (0, 1)
        for batch in EpochBatches(Pairs(4), same, 0, epoch).from_step(0, 0)
        for name in ("a", "b")
    ]
    assert len({tuple(chance) for chance in chances}) == 8


def from_disk(items: Iterable[Any]) -> Generator[Any, None, None]:
    return batches_of(SimpleNamespace(in_memory=False), items)  # type: ignore[arg-type]


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_the_same_items_in_order() -> None:
    assert list(from_disk(range(50))) == list(range(50))
    assert list(from_disk([])) == []
    assert list(from_disk([None, 0, False])) == [None, 0, False]
    assert not helpers()


def test_one_item_is_made_ahead_by_a_thread() -> None:
    made: list[int] = []
    second = threading.Event()
    names = set()

    def make() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            names.add(threading.current_thread().name)
            if i == 1:
                second.set()
            yield i

    items = from_disk(make())
    assert next(items) == 0
    assert second.wait(10)  # while the first is being used
    assert names == {"read-ahead_0"}
    assert made == [0, 1]
    assert list(items) == list(range(1, 10))


def test_an_error_comes_where_its_item_would_have() -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("here")

    items = from_disk(make())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ZeroDivisionError, match="here"):
        next(items)
    assert not helpers()


def test_the_thread_ends_when_the_iterator_is_closed() -> None:
    items = from_disk(iter(int, 1))  # endless
    assert next(items) == 0
    assert helpers()
    items.close()
    assert not helpers()


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_thread_reads_only_from_disk(in_memory):
    makers = []

    def make():
        for item in range(3):
            makers.append(threading.current_thread().name)
            yield item

    assert list(batches_of(SimpleNamespace(in_memory=in_memory), make())) == [0, 1, 2]
    assert set(makers) == ({threading.current_thread().name} if in_memory else {"read-ahead_0"})
