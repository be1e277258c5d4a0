from __future__ import annotations

import dataclasses
import errno
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.config.resolve import resolve
from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.pairs import TrainingLabels
from robustcmr.errors import DataError, UserError
from robustcmr.matchers.base import item_vectors
from robustcmr.matchers.two_tower import TwoTower
from robustcmr.selection import batch_cross_entropy
from robustcmr.tracks.pairs import PairsTrack
from robustcmr.training import scorer as scorer_module
from robustcmr.training.contents import read_contents
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.types import (
    Correspondence,
    DataSpec,
    Fragments,
    ImageBatch,
    LabelledVectors,
    PairBatch,
    TextBatch,
)


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


def test_several_numbers_a_pair_come_back_in_order(scored: Any) -> None:
    track, matcher, make = scored
    given = track.training.correspondence.image_of_caption

    def both(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        image = torch.from_numpy(given)[batch.pair_ids]
        return torch.stack([scores.diagonal(), batch.pair_ids.double(), image.double()], dim=1)

    got = make()(both, matcher)
    assert (got.shape, got.dtype) == ((200, 3), np.float32)
    np.testing.assert_array_equal(got[:, 0], make()(lambda scores, batch: scores.diagonal(), matcher))
    np.testing.assert_array_equal(got[:, 1], np.arange(200))
    np.testing.assert_array_equal(got[:, 2], given)


def test_one_column_stays_a_column(scored: Any) -> None:
    _, matcher, make = scored
    got = make()(lambda scores, batch: scores.diagonal()[:, None], matcher)
    assert got.shape == (200, 1)


def test_evidence_of_pairs_and_mismatched_pairs_equals_the_batches(scored: Any) -> None:
    """With NaN where a mismatched pair would be no mismatch."""
    _, matcher, make = scored
    batches = []

    def keep(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        found = batch_cross_entropy(scores, 0.05, batch.same_image)
        batches.append((batch.pair_ids.numpy(), found.numpy()))
        return found

    got = make(30)(keep, matcher)
    assert got.shape == (200, 2)
    for ids, found in batches:
        np.testing.assert_array_equal(got[ids], found)
    assert not np.isnan(got[:, 0]).any()
    assert 0 < np.isnan(got[:, 1]).sum() < 20


def test_half_precision_evidence_comes_back_in_float32(scored: Any) -> None:
    _, matcher, make = scored
    got = make()(lambda scores, batch: scores.diagonal().bfloat16(), matcher)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()


@pytest.mark.parametrize(
    ("n_pairs", "batch_size"), [(2, 2), (3, 2), (7, 2), (9, 2), (5, 3), (200, 2), (11, 128)]
)
def test_no_batch_is_a_single_pair(scored: Any, n_pairs: int, batch_size: int) -> None:
    track, matcher, _ = scored
    given = track.training.correspondence
    few = dataclasses.replace(
        track.training, correspondence=Correspondence(given.image_of_caption[:n_pairs], given.n_images)
    )
    sizes = []

    def note(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        sizes.append(len(batch))
        return scores.diagonal()

    TrainingSetScorer(few, batch_size, torch.device("cpu"), 0, 0)(note, matcher)
    assert sum(sizes) == n_pairs
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1


def test_evidence_with_vectors_is_the_evidence_and_the_vectors_of_all_pairs(scored: Any) -> None:
    """Images by their numbers, of which some have no pair; as if each pair were encoded alone."""
    track, matcher, _ = scored
    given = track.training.correspondence
    image_of = np.where(np.isin(given.image_of_caption, (0, 5)), 7, given.image_of_caption)
    data = dataclasses.replace(track.training, correspondence=Correspondence(image_of, given.n_images))
    scorer = TrainingSetScorer(data, 16, torch.device("cpu"), seed=4, epoch=1)

    def both(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        return batch_cross_entropy(scores, 0.05, batch.same_image)

    got, vectors = scorer.with_vectors(both, matcher)
    np.testing.assert_array_equal(got, scorer(both, matcher))
    matcher.eval()
    images = torch.zeros(int(image_of.max()) + 1, vectors.images.shape[1])
    texts = torch.zeros(len(data), images.shape[1])
    for i in range(len(data)):
        one = data.batch(np.array([i]))
        images[image_of[i]] = item_vectors(matcher.encode_images(one.images))[0].detach()
        texts[i] = item_vectors(matcher.encode_texts(one.texts))[0].detach()
    assert vectors.images.dtype == vectors.texts.dtype == torch.float16
    torch.testing.assert_close(vectors.images.float(), images, rtol=2e-3, atol=1e-4)
    torch.testing.assert_close(vectors.texts.float(), texts, rtol=2e-3, atol=1e-4)
    assert not vectors.images[[0, 5]].any()
    assert vectors.images[7].any()
    _, on_disk = scorer.with_vectors(both, matcher, on_disk=True)
    assert torch.equal(on_disk.images, vectors.images)
    assert torch.equal(on_disk.texts, vectors.texts)


def test_vectors_on_disk_are_in_a_file_that_vanishes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mapped, memmap = [], np.memmap
    monkeypatch.setattr(
        np, "memmap", lambda *given, **more: mapped.append(memmap(*given, **more)) or mapped[0]
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    table = scorer_module._table(3, 4, on_disk=True)
    assert table.dtype == torch.float16
    assert not table.any()
    table[1] = 2.0
    assert mapped[0].sum() == 8  # the same bytes
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(UserError, match=r"cannot keep 2 MiB of vectors in .*: No space left on device"):
        scorer_module._table(1024, 1024, on_disk=True)


class Labelled:
    """Labelled pairs with noise in training, and a small matcher of their vectors."""

    def __init__(self, columns: int = 1, labels: bool = True) -> None:
        rng = np.random.default_rng(2)
        self.pairs = TrainingLabels(
            ArrayFeatures(rng.normal(size=(23, 5)).astype(np.float32)),
            ArrayFeatures(rng.normal(size=(23, 4)).astype(np.float32)),
            rng.integers(0, 3, (23, columns)),
            noise=0.5,
        )
        self.labels = labels
        torch.manual_seed(1)
        spec = DataSpec(feature_width=5, n_regions=1, vocabulary_size=4, longest_caption=1, text_width=4)
        self.matcher = TwoTower(TwoTower.Config(dim=6, hidden=(8,), dropout=0.5), spec)

    def __len__(self) -> int:
        return len(self.pairs)

    in_memory = False

    def batch(
        self, pair_ids: Any, generator: np.random.Generator | None = None, image_from: Any = None
    ) -> PairBatch:
        assert generator is None, "what is encoded must not be augmented"
        assert image_from is None
        batch = self.pairs.batch(pair_ids)
        return batch if self.labels else dataclasses.replace(batch, labels=None)

    def vectors(self, batch_size: int = 7, epoch: int = 0, after: Any = None) -> LabelledVectors:
        scorer = TrainingSetScorer(self, batch_size, torch.device("cpu"), 0, epoch, after)
        return scorer.vectors(self.matcher)


class Rounded(torch.nn.Module):
    """Gives the vectors of a matcher in bfloat16."""

    def __init__(self, matcher: TwoTower) -> None:
        super().__init__()
        self.matcher = matcher

    def encode_images(self, images: ImageBatch) -> Fragments:
        return self.rounded(self.matcher.encode_images(images))

    def encode_texts(self, texts: TextBatch) -> Fragments:
        return self.rounded(self.matcher.encode_texts(texts))

    def rounded(self, side: Fragments) -> Fragments:
        return dataclasses.replace(side, pooled=None if side.pooled is None else side.pooled.bfloat16())


@pytest.mark.parametrize("columns", [1, 2])
def test_vectors_equal_encoding_pair_by_pair(columns: int) -> None:
    data = Labelled(columns)
    found = data.vectors()
    data.matcher.eval()
    for i in range(23):
        one = data.pairs.batch(np.array([i]))
        torch.testing.assert_close(found.images[i], data.matcher.encode_images(one.images).pooled[0])
        torch.testing.assert_close(found.texts[i], data.matcher.encode_texts(one.texts).pooled[0])
    assert torch.equal(found.labels, torch.from_numpy(data.pairs.labels))
    assert (found.images.dtype, found.images.shape) == (torch.float32, (23, 6))


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_vectors_come_in_the_order_of_pair_ids_whatever_the_batch(batch_size: int) -> None:
    data = Labelled(2)
    found, expected = data.vectors(batch_size, epoch=3), data.vectors()
    torch.testing.assert_close(found.images, expected.images)
    torch.testing.assert_close(found.texts, expected.texts)
    assert torch.equal(found.labels, expected.labels)


def test_vectors_are_taken_in_evaluation_mode_which_ends_even_after_an_error() -> None:
    data = Labelled()
    modes: list[bool] = []
    data.matcher.train()
    data.vectors(after=lambda: modes.append(data.matcher.training))
    assert modes == [False] * 4
    assert data.matcher.training

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.vectors(after=stop)
    assert data.matcher.training


def test_vectors_may_be_computed_with() -> None:
    data = Labelled()
    found = data.vectors()
    assert not found.images.requires_grad
    weight = torch.ones(6, requires_grad=True)
    ((found.images * weight).sum() + (found.texts * weight).square().sum()).backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()
    found.images.add_(1.0)  # a tensor of inference mode would refuse this


def test_vectors_of_a_matcher_in_half_precision_come_back_in_float32() -> None:
    data = Labelled()
    data.matcher = Rounded(data.matcher)  # type: ignore[assignment]
    found = data.vectors()
    assert found.images.dtype == found.texts.dtype == torch.float32


def test_pairs_without_classes_have_no_labelled_vectors() -> None:
    with pytest.raises(ValueError, match="these pairs carry no classes, so there are no labelled vectors"):
        Labelled(labels=False).vectors()


def test_a_matcher_without_pooled_vectors_says_so() -> None:
    data = Labelled()
    encode = data.matcher.encode_texts
    data.matcher.encode_texts = lambda texts: dataclasses.replace(encode(texts), pooled=None)  # type: ignore[method-assign]
    with pytest.raises(DataError, match="no single vector of an image or text"):
        data.vectors()


@pytest.mark.parametrize("epoch", [0, 3])
def test_the_contents_are_those_of_the_data_in_every_epoch(scored: Any, epoch: int) -> None:
    track, _, make = scored
    stops: list[int] = []
    found = make(batch_size=7, epoch=epoch, after=lambda: stops.append(1)).contents()
    parts = make(batch_size=7)._shuffled_ids()
    expected = read_contents(track.training, parts, torch.device("cpu"))
    assert torch.equal(found.features, expected.features)
    np.testing.assert_array_equal(found.words.toarray(), expected.words.toarray())
    np.testing.assert_array_equal(found.image_of, expected.image_of)
    np.testing.assert_array_equal(found.partner, expected.partner)
    assert len(stops) == len(parts)
