"""The records that pass between rooms."""

import numpy as np
import pytest
import torch

from robustcmr.types import Correspondence, Fragments, ImageBatch, PairBatch, StepResult, TextBatch


def fragments(n, length, width=3, pooled=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Fragments(
        torch.randn(n, length, width, generator=generator),
        torch.rand(n, length, generator=generator) < 0.7,
        torch.randn(n, width, generator=generator) if pooled else None,
    )


def test_concatenating_pads_with_zeros_and_false():
    parts = [fragments(2, 5, seed=1), fragments(3, 2, seed=2), fragments(1, 4, seed=3)]
    joined = Fragments.concatenate(parts)
    assert joined.features.shape == (6, 5, 3)
    assert joined.mask.dtype == torch.bool
    start = 0
    for part in parts:
        length = part.features.shape[1]
        rows = slice(start, start + len(part))
        assert torch.equal(joined.features[rows, :length], part.features)
        assert torch.equal(joined.mask[rows, :length], part.mask)
        assert torch.equal(joined.pooled[rows], part.pooled)
        assert not joined.features[rows, length:].any()
        assert not joined.mask[rows, length:].any()
        start += len(part)
    assert len(joined) == start


def test_concatenating_without_pooled_vectors():
    joined = Fragments.concatenate([fragments(2, 3, pooled=False), fragments(1, 3, pooled=False)])
    assert joined.pooled is None
    assert len(joined) == 3


def test_concatenating_refuses_a_mixture():
    with pytest.raises(ValueError, match="some parts have a pooled vector and some have none"):
        Fragments.concatenate([fragments(2, 3), fragments(1, 3, pooled=False)])


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    "index", [slice(1, 3), torch.tensor([3, 0, 0]), torch.tensor([True, False, True, True])]
)
def test_some_items(pooled, index):
    whole = fragments(4, 5, pooled=pooled)
    some = whole[index]
    assert torch.equal(some.features, whole.features[index])
    assert torch.equal(some.mask, whole.mask[index])
    assert (some.pooled is None) == (not pooled)
    if pooled:
        assert torch.equal(some.pooled, whole.pooled[index])


def test_moving_moves_every_tensor():
    """The meta device is always there and tells whether a tensor was forgotten."""
    meta = torch.device("meta")
    images = ImageBatch(torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
    texts = TextBatch(torch.zeros(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.bool))
    batch = PairBatch(images, texts, torch.arange(2), torch.eye(2, dtype=torch.bool)).to(meta)
    assert (len(batch), len(batch.images), len(batch.texts)) == (2, 2, 2)
    for tensor in (
        batch.images.features,
        batch.images.mask,
        batch.texts.tokens,
        batch.texts.mask,
        batch.pair_ids,
        batch.same_image,
    ):
        assert tensor.device == meta
    moved = fragments(2, 3).to(meta)
    assert {moved.features.device, moved.mask.device, moved.pooled.device} == {meta}
    assert fragments(2, 3, pooled=False).to(meta).pooled is None


def test_a_correspondence_knows_its_length():
    given = Correspondence(np.array([0, 0, 2], dtype=np.int64), n_images=3)
    assert len(given) == 3
    assert len(Correspondence(np.empty(0, dtype=np.int64), n_images=0)) == 0


@pytest.mark.parametrize("bad", [[0, 3], [-1, 0]])
def test_a_correspondence_refuses_images_that_are_not_there(bad):
    with pytest.raises(ValueError, match=rf"must lie in 0\.\.2, got {min(bad)}\.\.{max(bad)}"):
        Correspondence(np.array(bad, dtype=np.int64), n_images=3)


@pytest.mark.parametrize("bad", [np.zeros(2, np.int32), np.zeros(2), np.zeros((2, 1), np.int64)])
def test_a_correspondence_is_a_vector_of_int64(bad):
    with pytest.raises(ValueError, match="must be a vector of int64, got"):
        Correspondence(bad, n_images=3)


def test_records_cannot_be_changed():
    with pytest.raises(AttributeError):
        StepResult(torch.tensor(1.0)).loss = torch.tensor(2.0)
