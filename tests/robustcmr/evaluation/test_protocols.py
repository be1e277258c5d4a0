from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.errors import UserError
from robustcmr.evaluation.protocols import Member, evaluate_split, fold_slices, protocol_name
from robustcmr.evaluation.recall import retrieval_metrics

CPU = torch.device("cpu")


def whole(matcher: Any, split: Any) -> torch.Tensor:
    """Every image with every caption in one call, in evaluation mode."""
    matcher.eval()
    with torch.no_grad():
        scores = matcher(split.images, split.texts)
    matcher.train()
    return scores  # type: ignore[no-any-return]


def run(matchers: list[Any], split: Any, **options: Any) -> Any:
    members = [Member(matcher, split.image_batches, split.text_batches) for matcher in matchers]
    return evaluate_split(members, split.image_of_caption, CPU, **options)


def test_one_model_on_the_whole_split(toy: Any, make_split: Any) -> None:
    matcher, split = toy(), make_split(12, 3)
    result = run([matcher], split)
    assert result.metrics == retrieval_metrics(whole(matcher, split), split.image_of_caption).to_dict()
    assert result.protocol == "full"
    assert result.by_fold == result.by_model == [result.metrics]
    assert result.metrics["t2i_mean_rank"] == pytest.approx(result.queries["t2i_rank"].mean())
    assert result.metrics["i2t_r1"] == pytest.approx(100 * (result.queries["i2t_rank"] == 1).mean())
    assert (result.queries["t2i_image"] == split.image_of_caption).all()


@pytest.mark.parametrize("folds", [None, 1, 3])
def test_ensemble_averages_scores_not_recalls(toy: Any, make_split: Any, folds: int | None) -> None:
    matchers, split = [toy(0), toy(1)], make_split(12, 3)
    result = run(matchers, split, folds=folds, block_bytes=5000)
    scores = [whole(matcher, split) for matcher in matchers]
    mean, n = (scores[0] + scores[1]) / 2, 1 if folds is None else folds
    size = 12 // n
    owner = np.arange(size * 3, dtype=np.int64) // 3
    by_hand = [
        retrieval_metrics(mean[f * size : (f + 1) * size, f * size * 3 : (f + 1) * size * 3], owner)
        for f in range(n)
    ]
    assert result.by_fold == [part.to_dict() for part in by_hand]
    for name, value in result.metrics.items():
        values = [part[name] for part in result.by_fold]
        assert value == pytest.approx(sum(values) if name.startswith("n_") else np.mean(values)), name
    assert result.protocol == ("full" if folds is None else f"{folds}-fold {size}")
    for matcher, alone in zip(matchers, result.by_model, strict=True):
        assert alone == run([matcher], split, folds=folds).metrics
    assert result.by_model[0] != result.by_model[1]


@pytest.mark.parametrize("folds", [None, 3])
def test_every_query_keeps_its_place(toy: Any, make_split: Any, folds: int | None) -> None:
    """Ranks by a slow loop over the mean of two models, with captions that do not lie image by image."""
    matchers, split = [toy(0), toy(1)], make_split(12, 3)
    owner = np.random.default_rng(0).permutation(split.image_of_caption)
    members = [Member(matcher, split.image_batches, split.text_batches) for matcher in matchers]
    queries = evaluate_split(members, owner, CPU, folds=folds).queries
    mean = ((whole(matchers[0], split) + whole(matchers[1], split)) / 2).numpy()
    fold = np.arange(12) // (12 if folds is None else 4)
    by_image, by_caption = [], []
    for image in range(12):
        rivals = (fold[owner] == fold[image]) & (owner != image)
        by_image.append(1 + int((mean[image, rivals] >= mean[image, owner == image].max()).sum()))
    for caption, image in enumerate(owner):
        rivals = (fold == fold[image]) & (np.arange(12) != image)
        by_caption.append(1 + int((mean[rivals, caption] >= mean[image, caption]).sum()))
    assert queries["i2t_rank"].tolist() == by_image
    assert queries["t2i_rank"].tolist() == by_caption
    assert queries["t2i_image"].tolist() == owner.tolist()
    assert len(set(by_caption)) > 2


def test_folds_score_only_their_own_blocks(toy: Any, make_split: Any) -> None:
    matcher, seen = toy(), []
    result = run([matcher, toy(1)], make_split(12, 2), folds=4, progress=lambda *counts: seen.append(counts))
    assert sum(a * b for a, b, *_ in matcher.blocks) == 4 * 3 * 6
    assert seen[-1] == (144, 144)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert result.protocol == "4-fold 3"


def test_a_model_that_says_nan_is_refused(toy: Any, make_split: Any) -> None:
    matcher = toy()
    with torch.no_grad():
        matcher.project.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="NaN"):
        run([matcher], make_split(4, 2))


def test_evaluating_nothing_or_the_wrong_split_is_refused(toy: Any, make_split: Any) -> None:
    split = make_split(6, 2)
    with pytest.raises(ValueError, match="no matcher"):
        run([], split)
    with pytest.raises(UserError, match="6 images cannot be cut into 4 folds"):
        run([toy()], split, folds=4)
    with pytest.raises(ValueError, match="empty"):
        evaluate_split([Member(toy(), split.image_batches, split.text_batches)], np.zeros(0, np.int64), CPU)
    other = np.arange(8, dtype=np.int64) // 2
    with pytest.raises(ValueError, match="6 images and 12 captions, but image_of_caption speaks of 4 and 8"):
        evaluate_split([Member(toy(), split.image_batches, split.text_batches)], other, CPU)


def test_captions_need_not_be_in_order(toy: Any, make_split: Any) -> None:
    split, order = make_split(12, 3), np.random.default_rng(0).permutation(36)
    expected = run([toy()], split, folds=3)
    split.texts = type(split.texts)(split.texts.tokens[order], split.texts.mask[order])
    split.image_of_caption = split.image_of_caption[order]
    found = run([toy()], split, folds=3)
    assert found.metrics == expected.metrics
    assert found.queries["t2i_rank"].tolist() == expected.queries["t2i_rank"][order].tolist()


def test_fewer_than_one_fold_is_refused() -> None:
    with pytest.raises(UserError, match="got 0 folds"):
        fold_slices(60, 0)


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
