from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from robustcmr.correction import class_evidence as module
from robustcmr.correction.class_evidence import class_evidence, neighbour_mean, neighbours


def unit(n, d=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)


def beliefs(n, k=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(torch.randn(n, k, generator=generator, dtype=torch.float64), dim=1)


@pytest.mark.parametrize("cells", [2**24, 30])
def test_neighbours_as_a_slow_loop_finds_them(monkeypatch, cells):
    monkeypatch.setattr(module, "_BLOCK_CELLS", cells)  # in blocks of one or two rows as well
    vectors = unit(13)
    rows, weights = neighbours(vectors, 3, 0.2)
    for i in range(13):
        others = [j for j in range(13) if j != i]
        cosines = torch.stack([vectors[i] @ vectors[j] for j in others])
        best = cosines.argsort(descending=True)[:3]
        assert rows[i].tolist() == [others[j] for j in best]
        torch.testing.assert_close(weights[i], torch.softmax(cosines[best] / 0.2, dim=0))


def test_no_more_neighbours_than_there_are():
    rows, weights = neighbours(unit(4), 20, 0.1)
    assert rows.shape == weights.shape == (4, 3)
    assert all(i not in rows[i].tolist() for i in range(4))


def test_equal_vectors_are_never_their_own_neighbour():
    rows, _ = neighbours(torch.ones(5, 3) / 3**0.5, 4, 0.1)
    assert all(i not in rows[i].tolist() for i in range(5))


def test_neighbour_mean_as_a_slow_loop():
    values, (rows, weights) = beliefs(9), neighbours(unit(9), 4, 0.5)
    found = neighbour_mean(values, rows, weights)
    for i in range(9):
        slow = sum(weights[i, j] * values[rows[i, j]] for j in range(4))
        torch.testing.assert_close(found[i], slow)


def test_the_blend_as_a_slow_loop():
    images, texts, of_images, of_texts = unit(8), unit(8, seed=2), beliefs(8), beliefs(8, seed=3)
    found = class_evidence(images, texts, of_images, of_texts, count=3, share=0.3, temperature=0.4)
    both = (of_images + of_texts) / 2
    near = [neighbour_mean(both, *neighbours(side, 3, 0.4)) for side in (images, texts)]
    for i in range(8):
        say_image = 0.7 * of_images[i] + 0.3 * near[0][i]
        say_text = 0.7 * of_texts[i] + 0.3 * near[1][i]
        agrees, disagrees = say_image @ near[1][i], say_text @ near[0][i]
        trust = agrees / (agrees + disagrees)
        torch.testing.assert_close(found.image_trust[i], trust)
        torch.testing.assert_close(found.probabilities[i], trust * say_image + (1 - trust) * say_text)
        torch.testing.assert_close(found.by_neighbours[i], (near[0][i] + near[1][i]) / 2)


def test_probabilities_sum_to_one():
    found = class_evidence(unit(8), unit(8, seed=2), beliefs(8), beliefs(8, seed=3))
    for each in (found.probabilities, found.by_neighbours):
        torch.testing.assert_close(each.sum(1), torch.ones(8, dtype=torch.float64))


def test_the_modality_that_the_other_supports_is_trusted_more():
    """Texts of two clear groups; images with a wrong opinion in pair 0, which its text's neighbours deny."""
    texts = F.normalize(
        torch.tensor([[1.0, 0.01 * i] for i in range(5)] + [[0.01 * i, 1.0] for i in range(5)]), dim=1
    )
    of_texts = torch.tensor([[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 5)
    of_images = of_texts.clone()
    of_images[0] = torch.tensor([0.1, 0.9])
    found = class_evidence(texts, texts, of_images, of_texts, count=4, share=0.5)
    assert found.image_trust[0] < 0.4
    assert found.image_trust[1] == pytest.approx(0.5, abs=0.02)
    even = class_evidence(texts, texts, of_images, of_texts, count=4, share=0.5, trust=False)
    assert (even.image_trust == 0.5).all()
    assert found.probabilities[0, 0] > even.probabilities[0, 0]


def test_without_neighbours_share_it_is_each_modality_itself():
    of_images, of_texts = beliefs(6), beliefs(6, seed=5)
    found = class_evidence(unit(6), unit(6, seed=2), of_images, of_texts, share=0.0, trust=False)
    torch.testing.assert_close(found.probabilities, (of_images + of_texts) / 2)


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="two vectors"):
        neighbours(unit(1), 3, 0.1)
    with pytest.raises(ValueError, match="one neighbour"):
        neighbours(unit(3), 0, 0.1)
