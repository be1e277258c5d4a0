from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from robustcmr.correction.class_evidence import class_evidence, neighbours
from robustcmr.selection.neighbours import neighbour_mean


def unit(n, d=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)


def beliefs(n, k=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(torch.randn(n, k, generator=generator, dtype=torch.float64), dim=1)


def test_weights_of_neighbours_are_the_softmax_of_their_cosines():
    vectors = unit(13)
    rows, weights = neighbours(vectors, 3, 0.2)
    for i in range(13):
        cosines = torch.stack([vectors[i] @ vectors[j] for j in rows[i]])
        torch.testing.assert_close(weights[i], torch.softmax(cosines / 0.2, dim=0))


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
