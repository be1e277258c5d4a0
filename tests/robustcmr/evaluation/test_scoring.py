from __future__ import annotations

from typing import Any

import pytest
import torch

from robustcmr.errors import PluginError
from robustcmr.evaluation.blocks import WORKING_COPIES
from robustcmr.evaluation.scoring import (
    encode_split,
    evaluation_mode,
    score_matrix,
)
from robustcmr.types import Fragments

CPU = torch.device("cpu")


def whole(matcher: Any, split: Any) -> torch.Tensor:
    """Every image with every caption in one call, in evaluation mode."""
    matcher.eval()
    with torch.no_grad():
        scores = matcher(split.images, split.texts)
    matcher.train()
    return scores  # type: ignore[no-any-return]


def encoded(matcher: Any, split: Any) -> tuple[Fragments, Fragments]:
    return encode_split(matcher, split.image_batches(), split.text_batches(), CPU)


@pytest.mark.parametrize("pooled", [True, False])
def test_encoding_in_batches_equals_encoding_at_once(toy: Any, make_split: Any, pooled: bool) -> None:
    matcher, split = toy(pooled=pooled), make_split(13, 3)
    images, texts = encoded(matcher, split)
    matcher.eval()
    expected_images, expected_texts = matcher.encode_images(split.images), matcher.encode_texts(split.texts)
    for found, expected in ((images, expected_images), (texts, expected_texts)):
        torch.testing.assert_close(found.features, expected.features)
        assert torch.equal(found.mask, expected.mask)
        assert (found.pooled is None) == (not pooled)
        if pooled:
            torch.testing.assert_close(found.pooled, expected.pooled)


def test_fragments_can_be_used_where_gradients_are_recorded(toy: Any, make_split: Any) -> None:
    matcher = toy()
    images, texts = encoded(matcher, make_split(5, 2))
    assert not images.features.is_inference()
    assert not images.features.requires_grad
    weight = torch.ones((), requires_grad=True)
    (images.features * weight).sum().backward()
    scores = score_matrix(matcher, images, texts)
    scores += 1  # would fail on an inference tensor
    assert matcher.grad == [False] * len(matcher.grad)


@pytest.mark.parametrize("block_bytes", [1, 3000, 20_000, 10**9])
@pytest.mark.parametrize(("n_images", "per_image"), [(1, 1), (13, 3), (17, 5)])
def test_blocks_equal_the_whole(
    toy: Any, make_split: Any, block_bytes: int, n_images: int, per_image: int
) -> None:
    matcher, split = toy(), make_split(n_images, per_image)
    scores = score_matrix(matcher, *encoded(matcher, split), block_bytes=block_bytes)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, whole(matcher, split), rtol=1e-5, atol=1e-5)


def test_blocks_keep_to_their_memory_and_trim_padding(toy: Any, make_split: Any) -> None:
    matcher, split, budget = toy(), make_split(17, 5), 20_000
    images, texts = encoded(matcher, split)
    matcher.blocks.clear()
    score_matrix(matcher, images, texts, block_bytes=budget)
    assert len(matcher.blocks) > 10
    assert max(a * b * r * w * 4 * WORKING_COPIES for a, b, r, w in matcher.blocks) <= budget
    assert sum(a * b for a, b, _, _ in matcher.blocks) == 17 * 85
    assert min(w for *_, w in matcher.blocks) < max(w for *_, w in matcher.blocks)
    padded = 17 * 85 * images.mask.shape[1] * texts.mask.shape[1]
    assert sum(a * b * r * w for a, b, r, w in matcher.blocks) < 0.6 * padded


def test_matcher_is_evaluated_and_every_submodule_gets_its_mode_back(toy: Any, make_split: Any) -> None:
    matcher, split = toy(), make_split(6, 2)
    matcher.train()
    matcher.norm.eval()  # frozen on purpose
    before = [module.training for module in matcher.modules()]
    statistics = matcher.norm.running_mean.clone()
    images, texts = encoded(matcher, split)
    score_matrix(matcher, images, texts)
    assert matcher.modes == [False] * len(matcher.modes)
    assert [module.training for module in matcher.modules()] == before
    assert torch.equal(matcher.norm.running_mean, statistics)

    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        score_matrix(matcher, images, texts, progress=stop)
    assert [module.training for module in matcher.modules()] == before


def test_a_matcher_in_evaluation_mode_stays_there(toy: Any) -> None:
    matcher = toy().eval()
    with evaluation_mode(matcher):
        pass
    assert not any(module.training for module in matcher.modules())


def test_progress_ends_at_all_pairs(toy: Any, make_split: Any) -> None:
    matcher, seen = toy(), []
    images, texts = encoded(matcher, make_split(9, 2))
    score_matrix(matcher, images, texts, 3000, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (162, 162)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_score_of_the_wrong_shape_is_refused(
    toy: Any, make_split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = toy()
    images, texts = encoded(matcher, make_split(4, 2))
    monkeypatch.setattr(matcher, "score", lambda i, t: torch.zeros(len(t), len(i)))
    with pytest.raises(PluginError, match=r"Toy.score returned \(8, 4\) for 4 images and 8 captions"):
        score_matrix(matcher, images, texts)


def test_a_pooled_vector_now_and_then_is_refused(
    toy: Any, make_split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher, split = toy(), make_split(6, 2)
    encode = matcher.encode_images

    def sometimes(batch: Any) -> Fragments:
        found = encode(batch)
        return Fragments(found.features, found.mask, found.pooled if len(batch) == 4 else None)

    monkeypatch.setattr(matcher, "encode_images", sometimes)
    with pytest.raises(PluginError, match="some batches of images have a pooled vector"):
        encoded(matcher, split)


def test_nothing_to_encode_is_refused(toy: Any, make_split: Any) -> None:
    split = make_split(2, 2)
    with pytest.raises(ValueError, match="no images"):
        encode_split(toy(), [], split.text_batches(), CPU)
    with pytest.raises(ValueError, match="no captions"):
        encode_split(toy(), split.image_batches(), [], CPU)


def test_a_matcher_without_weights_scores_where_the_fragments_are() -> None:
    from robustcmr.matchers.base import Matcher

    class Plain(Matcher):
        def encode_images(self, images: Any) -> Fragments:
            raise AssertionError

        encode_texts = encode_images

        def score(self, images: Fragments, texts: Fragments) -> torch.Tensor:
            return images.features[:, 0] @ texts.features[:, 0].T

    images = Fragments(torch.rand(3, 1, 2), torch.ones(3, 1, dtype=torch.bool))
    texts = Fragments(torch.rand(4, 1, 2), torch.ones(4, 1, dtype=torch.bool))
    expected = images.features[:, 0] @ texts.features[:, 0].T
    torch.testing.assert_close(score_matrix(Plain(), images, texts, 16), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_and_fragments_may_stay_on_the_cpu(toy: Any, make_split: Any) -> None:
    gpu, split = torch.device("cuda"), make_split(17, 5)
    expected = whole(toy(), split)
    matcher = toy().to(gpu)
    for keep_on in (None, CPU):
        fragments = encode_split(matcher, split.image_batches(), split.text_batches(), gpu, keep_on)
        assert fragments[0].features.device.type == ("cuda" if keep_on is None else "cpu")
        scores = score_matrix(matcher, *fragments, block_bytes=20_000)
        assert scores.device == CPU
        torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3)
