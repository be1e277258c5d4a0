"""The batches of an epoch: the pairs of each step depend on the plan, the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from robustcmr.data.base import TrainingData
from robustcmr.errors import ConfigError, UserError
from robustcmr.training.seeds import generator_for
from robustcmr.types import EpochPlan, IntArray, PairBatch

T = TypeVar("T")

_ORDER, _AUGMENTATION = 1, 2  # keys of the random generators

_END = object()


def check_batch_size(batch_size: int, n_pairs: int) -> None:
    """Raise ConfigError if there are fewer pairs than a batch holds."""
    if batch_size > n_pairs:
        raise ConfigError(
            f"training.batch_size is {batch_size} "
            f"but there are only {n_pairs} training pairs; add --batch-size {n_pairs}, or a smaller one"
        )


def batches_of(data: TrainingData, items: Iterable[T]) -> Generator[T, None, None]:
    """Return items in order; if the features are on disk, a thread makes the next one meanwhile.

    Features in memory are gathered faster than a thread would pay for. An error is raised where its item
    would have come. The thread ends when the iterator is closed.
    """
    if data.in_memory:
        yield from items
        return
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        upcoming = thread.submit(next, iterator, _END)
        while (item := upcoming.result()) is not _END:
            upcoming = thread.submit(next, iterator, _END)
            yield item  # type: ignore[misc]


def step_ids(plan: EpochPlan, batch_size: int, seed: int, epoch: int) -> list[dict[str, IntArray]]:
    """Return the pair ids of every step of an epoch.

    The longest group sets the number of steps; its incomplete last batch is dropped. A shorter group starts
    over in a new order, a group smaller than a batch is used whole at every step, an empty group is skipped.

    Returns:
        One mapping a step, group name to (<= batch_size,) ids, determined by ``seed`` and ``epoch``.
    """
    groups = {name: ids for name, ids in plan.groups.items() if len(ids)}
    if not groups:
        raise ValueError("the epoch plan has no pairs in any group")
    n_steps = max(max(len(ids) // batch_size, 1) for ids in groups.values())
    steps: list[dict[str, IntArray]] = [{} for _ in range(n_steps)]
    for position, name in enumerate(sorted(groups)):
        generator = generator_for(seed, _ORDER, epoch, position)
        ids = groups[name]
        size = min(batch_size, len(ids))
        order = np.empty(0, dtype=np.int64)
        for step in steps:
            if len(order) < size:
                order = generator.permutation(ids)
            step[name], order = order[:size], order[size:]
    return steps


@dataclass
class EpochBatches(Dataset[dict[str, PairBatch]]):
    """The batches of one epoch by step number, the same from any process; ``steps`` as :func:`step_ids`."""

    data: TrainingData
    steps: list[dict[str, IntArray]]
    seed: int
    epoch: int
    image_from: IntArray | None = None  # see EpochPlan

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, step: int) -> dict[str, PairBatch]:
        batches = {}
        for position, (name, ids) in enumerate(sorted(self.steps[step].items())):
            generator = generator_for(self.seed, _AUGMENTATION, self.epoch, step, position)
            image_from = None if self.image_from is None else self.image_from[ids]
            batches[name] = self.data.batch(ids, generator, image_from)
        return batches

    def from_step(self, first: int, workers: int) -> Iterator[Mapping[str, PairBatch]]:
        """Yield the batches from a step on, read ahead by ``workers`` processes, or by a thread from disk."""
        if workers == 0:
            yield from batches_of(self.data, (self[step] for step in range(first, len(self))))
            return
        loader: DataLoader[Any] = DataLoader(
            _ErrorsReturned(self),
            batch_size=None,
            sampler=range(first, len(self)),
            num_workers=workers,
            collate_fn=_as_is,
            # the loader draws a seed from this generator instead of the global one
            generator=torch.Generator(),
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch


@dataclass
class _ErrorsReturned(Dataset[Any]):
    """Batches for worker processes; an error raised there would come back with its traceback as message."""

    batches: EpochBatches

    def __getitem__(self, step: int) -> Any:
        try:
            return self.batches[step]
        except UserError as error:
            return error


def _as_is(item: Any) -> Any:
    return item
