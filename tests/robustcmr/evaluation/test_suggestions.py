"""The best other image of each caption, against a slow loop over the whole score matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.errors import TrainingDivergedError
from robustcmr.evaluation.scoring import encode_images, encode_split, encode_texts
from robustcmr.evaluation.suggestions import best_other_images
from robustcmr.matchers.base import Matcher
from robustcmr.types import Fragments, ImageBatch, TextBatch

CPU = torch.device("cpu")
Suggested = tuple[np.ndarray, np.ndarray]


def chosen(split: Any, candidates: Any, size: int = 4) -> list[ImageBatch]:
    """Batches of some images of a split."""
    ids = torch.as_tensor(candidates)
    return [
        ImageBatch(split.images.features[part], split.images.mask[part]) for part in torch.split(ids, size)
    ]


def by_loops(scores: torch.Tensor, candidates: Any, given: Any) -> tuple[list[int], list[float]]:
    """Best image and its score for every caption; ``scores`` holds all images."""
    images, best = [], []
    for caption, own in enumerate(given):
        image, top = -1, float("nan")
        for other in candidates:
            score = float(scores[other, caption])
            if other != own and (image == -1 or score > top):
                image, top = int(other), score
        images.append(image)
        best.append(top)
    return images, best


def suggest(matcher: Any, split: Any, candidates: Any, given: Any, **options: Any) -> Suggested:
    size = options.pop("size", 7)
    return best_other_images(
        matcher,
        np.asarray(candidates, dtype=np.int64),
        chosen(split, candidates),
        split.text_batches(size),
        np.asarray(given, dtype=np.int64),
        CPU,
        **options,
    )


def scored(matcher: Any, split: Any) -> torch.Tensor:
    matcher.eval()
    with torch.no_grad():
        return matcher(split.images, split.texts)  # type: ignore[no-any-return]


@pytest.mark.parametrize("candidates", [range(13), [0, 3, 4, 9, 12], [1, 2], [5]])
@pytest.mark.parametrize("block_bytes", [1, 3000, 10**9])
def test_equals_the_loops_whatever_the_blocks(
    toy: Any, make_split: Any, candidates: Any, block_bytes: int
) -> None:
    matcher, split = toy(), make_split(13, 3)
    given = np.random.default_rng(0).integers(0, 13, 39)
    candidates = list(candidates)
    image, score = suggest(matcher, split, candidates, given, block_bytes=block_bytes)
    images, best = by_loops(scored(matcher, split), candidates, given)
    assert image.tolist() == images
    np.testing.assert_allclose(score, best, rtol=1e-5, atol=1e-5)
    assert (image.dtype, score.dtype) == (np.int64, np.float32)
    assert (image != given).all()
    assert set(image.tolist()) <= {-1, *candidates}
    np.testing.assert_array_equal(np.isnan(score), image == -1)


@pytest.mark.parametrize("size", [1, 5, 39, 100])
def test_the_size_of_batches_does_not_matter(toy: Any, make_split: Any, size: int) -> None:
    matcher, split, given = toy(), make_split(13, 3), np.arange(39) % 13
    expected_image, expected_score = suggest(matcher, split, range(13), given)
    image, score = suggest(matcher, split, range(13), given, size=size)
    np.testing.assert_array_equal(image, expected_image)
    np.testing.assert_allclose(score, expected_score, rtol=1e-5, atol=1e-5)


def test_the_given_image_as_the_only_candidate_leaves_none(toy: Any, make_split: Any) -> None:
    image, score = suggest(toy(), make_split(3, 2), [1], [0, 1, 2, 1, 1, 0])
    assert image.tolist() == [1, -1, 1, -1, -1, 1]
    assert np.isnan(score).tolist() == [False, True, False, True, True, False]


class Told(Matcher):
    """Scores as they were told, by the numbers that images and captions carry."""

    def __init__(self, scores: Any) -> None:
        super().__init__()
        self.register_buffer("table", torch.tensor(scores, dtype=torch.float32))

    def encode_images(self, images: ImageBatch) -> Fragments:
        return Fragments(images.features, images.mask)

    def encode_texts(self, texts: TextBatch) -> Fragments:
        return Fragments(texts.tokens[..., None].float(), texts.mask)

    def score(self, images: Fragments, texts: Fragments) -> torch.Tensor:
        rows, columns = images.features[:, 0, 0].long(), texts.features[:, 0, 0].long()
        return self.table[rows][:, columns]  # type: ignore[index]


def told(scores: Any, given: Any, candidates: Any = None, images: int | None = None) -> Suggested:
    """Suggestions from a table of all images by all captions."""
    n, m = np.shape(scores)
    candidates = list(range(n)) if candidates is None else candidates
    some = torch.tensor(candidates[:images], dtype=torch.float32)[:, None, None]
    real = torch.ones(len(some), 1, dtype=torch.bool)
    return best_other_images(
        Told(scores),
        np.array(candidates, dtype=np.int64),
        [ImageBatch(some, real)],
        [TextBatch(torch.tensor([[j]]), torch.ones(1, 1, dtype=torch.bool)) for j in range(m)],
        np.array(given, dtype=np.int64),
        CPU,
    )


def test_of_equal_images_the_first_is_suggested() -> None:
    scores = [[0.5, 0.5, 0.9], [0.5, 0.7, 0.9], [0.5, 0.7, 0.1], [0.5, 0.7, 0.9]]
    assert told(scores, [0, 0, 1])[0].tolist() == [1, 1, 0]
    assert told(scores, [3, 3, 0])[0].tolist() == [0, 1, 1]
    assert told(scores, [1, 1, 1], [1, 2, 3])[0].tolist() == [2, 2, 3]


def test_the_given_image_is_passed_over_however_well_it_fits() -> None:
    image, score = told([[9.0, -5.0], [1.0, -7.0], [2.0, -6.0]], [0, 0])
    assert image.tolist() == [2, 2]
    assert score.tolist() == [2.0, -6.0]


def test_a_broken_score_is_refused_and_not_taken_for_no_image() -> None:
    with pytest.raises(TrainingDivergedError, match="a score is NaN or infinite"):
        told([[0.1, 0.2], [0.3, float("nan")], [0.1, 0.5]], [0, 0])
    with pytest.raises(TrainingDivergedError, match="a score is NaN or infinite"):
        told([[0.1, 0.2], [float("inf"), 0.3]], [0, 0])
    # the given image's own score takes no part
    assert told([[0.1, float("nan")], [0.3, 0.4]], [1, 0])[0].tolist() == [0, 1]


def test_what_does_not_fit_together_is_refused(toy: Any, make_split: Any) -> None:
    matcher, split, given = toy(), make_split(5, 2), np.arange(10) // 2
    empty = np.zeros(0, dtype=np.int64)
    with pytest.raises(ValueError, match="no image to choose from; give at least one candidate"):
        best_other_images(matcher, empty, [], split.text_batches(), given, CPU)
    for candidates in ([0, 2, 1], [0, 1, 1]):
        with pytest.raises(ValueError, match="candidates must be ascending image ids, each once"):
            suggest(matcher, split, candidates, given)
    for wrong in (given[:-1], given[:3], given[:7], given[:0], np.append(given, 0)):
        with pytest.raises(ValueError, match=f"captions for {len(wrong)} given images; give one image a"):
            suggest(matcher, split, range(5), wrong)
    for n in (1, 2):
        with pytest.raises(ValueError, match=f"got {n} images for 3 candidates; give one image a candidate"):
            told(np.zeros((3, 2)), [0, 1], images=n)


def test_it_looks_in_evaluation_mode_and_gives_the_mode_back(toy: Any, make_split: Any) -> None:
    matcher, split = toy(), make_split(5, 2)
    matcher.train()
    suggest(matcher, split, range(5), np.arange(10) // 2, size=4)
    assert matcher.training
    assert not any(matcher.modes)


def test_one_side_is_encoded_alone_as_with_the_other(toy: Any, make_split: Any) -> None:
    matcher, split = toy(), make_split(6, 2)
    expected = encode_split(matcher, split.image_batches(), split.text_batches(), CPU)
    matcher.modes.clear()
    images = encode_images(matcher, split.image_batches(), CPU, CPU)
    assert len(matcher.modes) == len(split.image_batches())
    texts = encode_texts(matcher, split.text_batches(), CPU, CPU)
    for found, other in zip((images, texts), expected, strict=True):
        torch.testing.assert_close(found.features, other.features)
        torch.testing.assert_close(found.mask, other.mask)
        torch.testing.assert_close(found.pooled, other.pooled)
    assert not any(matcher.modes)
    with pytest.raises(ValueError, match="no captions to encode"):
        encode_texts(matcher, [], CPU)
