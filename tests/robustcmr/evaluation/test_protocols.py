from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from robustcmr.errors import UserError
from robustcmr.evaluation.protocols import block_metrics, fold_metrics, fold_slices, protocol_name
from robustcmr.evaluation.recall import retrieval_metrics

N_IMAGES, PER_IMAGE, FOLDS = 60, 3, 5


@pytest.fixture
def scores() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(N_IMAGES, N_IMAGES * PER_IMAGE, generator=generator)
    return scores + 2 * (torch.arange(N_IMAGES)[:, None] == torch.arange(N_IMAGES * PER_IMAGE) // PER_IMAGE)


def test_folds_equal_measuring_each_by_hand(scores: Tensor) -> None:
    owner = torch.arange(N_IMAGES * PER_IMAGE) // PER_IMAGE
    mean, parts = fold_metrics(scores, owner, FOLDS)
    by_hand = []
    for fold in range(FOLDS):
        block = scores[fold * 12 : (fold + 1) * 12, fold * 36 : (fold + 1) * 36]
        by_hand.append(retrieval_metrics(block, torch.arange(36) // 3))
    assert parts == by_hand
    for field in dataclasses.fields(mean):
        values = [getattr(part, field.name) for part in by_hand]
        expected = sum(values) if field.name.startswith("n_") else np.mean(values)
        assert getattr(mean, field.name) == pytest.approx(expected), field.name
    assert mean.rsum == pytest.approx(np.mean([part.rsum for part in by_hand]))
    assert mean.rsum > retrieval_metrics(scores, owner).rsum  # smaller galleries are easier


def test_captions_need_not_be_in_order(scores: Tensor) -> None:
    owner = torch.arange(N_IMAGES * PER_IMAGE) // PER_IMAGE
    order = torch.randperm(len(owner), generator=torch.Generator().manual_seed(0))
    assert fold_metrics(scores[:, order], owner[order].numpy(), FOLDS) == fold_metrics(scores, owner, FOLDS)


def test_one_fold_is_the_whole(scores: Tensor) -> None:
    owner = torch.arange(N_IMAGES * PER_IMAGE) // PER_IMAGE
    assert fold_metrics(scores, owner, 1)[0] == retrieval_metrics(scores, owner)


def test_only_diagonal_blocks_are_scored(scores: Tensor) -> None:
    owner = torch.arange(N_IMAGES * PER_IMAGE) // PER_IMAGE
    asked: list[tuple[int, int, int]] = []

    def score_block(images: slice, captions: Tensor) -> Tensor:
        asked.append((images.start, images.stop, len(captions)))
        return scores[images][:, captions]

    assert block_metrics(score_block, owner, N_IMAGES) == fold_metrics(scores, owner)
    assert asked == [(start, start + 12, 36) for start in range(0, 60, 12)]
    poisoned = torch.full_like(scores, torch.nan)
    for fold in range(FOLDS):
        rows, columns = slice(fold * 12, fold * 12 + 12), slice(fold * 36, fold * 36 + 36)
        poisoned[rows, columns] = scores[rows, columns]
    assert fold_metrics(poisoned, owner) == fold_metrics(scores, owner)


def test_folds_that_do_not_divide_are_refused(scores: Tensor) -> None:
    owner = torch.arange(N_IMAGES * PER_IMAGE) // PER_IMAGE
    with pytest.raises(UserError, match="60 images cannot be cut into 7 folds"):
        fold_metrics(scores, owner, 7)
    with pytest.raises(UserError, match="got 0 folds"):
        fold_slices(60, 0)


def test_wrong_shapes_are_refused(scores: Tensor) -> None:
    owner = torch.arange(N_IMAGES * PER_IMAGE) // PER_IMAGE
    with pytest.raises(ValueError, match="for 180 captions"):
        fold_metrics(scores[:, :-1], owner)
    with pytest.raises(ValueError, match=r"images 0..11 is \(12, 180\), expected \(12, 36\)"):
        block_metrics(lambda images, captions: scores[images], owner, N_IMAGES)


@pytest.mark.parametrize(
    ("n_images", "folds", "name"),
    [
        (1000, None, "1K"),
        (5000, None, "5K"),
        (1014, None, "full"),
        (2000, None, "full"),
        (5000, 5, "5-fold 1K"),
        (1000, 5, "5-fold 200"),
    ],
)
def test_protocol_names(n_images: int, folds: int | None, name: str) -> None:
    assert protocol_name(n_images, folds) == name
