"""Neighbours inside a modality and what their labels say, against slow loops."""

from collections import Counter

import pytest
import torch
from torch.nn import functional as F

from robustcmr.selection import neighbours as module
from robustcmr.selection.neighbours import nearest_neighbours, neighbour_labels, neighbour_mean

K = 4


def unit(n, d=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)


def labels(n, columns=1, seed=2):
    return torch.randint(K, (n, columns), generator=torch.Generator().manual_seed(seed))


def nearest(vectors, i, count):
    others = [j for j in range(len(vectors)) if j != i]
    return sorted(others, key=lambda j: -float(vectors[i] @ vectors[j]))[:count]


@pytest.mark.parametrize("cells", [2**24, 30])
def test_neighbours_as_a_slow_loop_finds_them(monkeypatch, cells):
    monkeypatch.setattr(module, "_BLOCK_CELLS", cells)  # in blocks of one or two rows as well
    vectors = unit(13)
    rows, cosines = nearest_neighbours(vectors, 3)
    for i in range(13):
        assert rows[i].tolist() == nearest(vectors, i, 3)
        torch.testing.assert_close(cosines[i], torch.stack([vectors[i] @ vectors[j] for j in rows[i]]))


def test_no_more_neighbours_than_there_are():
    rows, cosines = nearest_neighbours(unit(4), 20)
    assert rows.shape == cosines.shape == (4, 3)


@pytest.mark.parametrize("cells", [2**24, 7])
def test_equal_vectors_are_never_their_own_neighbour(monkeypatch, cells):
    monkeypatch.setattr(module, "_BLOCK_CELLS", cells)
    rows, _ = nearest_neighbours(torch.ones(5, 3) / 3**0.5, 4)
    assert all(i not in rows[i].tolist() for i in range(5))


def test_neighbour_mean_as_a_slow_loop():
    values = torch.rand(9, K, generator=torch.Generator().manual_seed(1))
    rows, cosines = nearest_neighbours(unit(9), 4)
    weights = torch.softmax(cosines, dim=1).float()
    found = neighbour_mean(values, rows, weights)
    for i in range(9):
        torch.testing.assert_close(found[i], sum(weights[i, j] * values[rows[i, j]] for j in range(4)))


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("count", [1, 5, 50])
def test_neighbour_labels_as_a_slow_loop(columns, count):
    images, texts, given = unit(21), unit(21, seed=1), labels(21, columns)
    found = neighbour_labels(images, texts, given, K, count)
    for i in range(21):
        agreeing, shares = 0, []
        for vectors, column in ((images, given[:, 0]), (texts, given[:, -1])):
            counted = Counter(int(column[j]) for j in nearest(vectors, i, count))
            agreeing += counted[int(column[i])] == max(counted.values())
            shares.append([counted[k] / sum(counted.values()) for k in range(K)])
        assert int(found.agreeing[i]) == agreeing
        assert found.by_images[i].tolist() == pytest.approx(shares[0])
        assert found.by_texts[i].tolist() == pytest.approx(shares[1])
        both = [a + b for a, b in zip(*shares, strict=True)]
        assert both[int(found.pseudo_labels[i])] == pytest.approx(max(both))


def test_agreement_does_not_depend_on_the_order_of_the_classes():
    images, texts, given = unit(40), unit(40, seed=1), labels(40)
    turned = neighbour_labels(images, texts, K - 1 - given, K, 4)
    assert (neighbour_labels(images, texts, given, K, 4).agreeing == turned.agreeing).all()


def test_a_wrong_label_among_right_ones_is_noisy_and_corrected():
    vectors = torch.eye(3, 6).repeat_interleave(12, dim=0)
    given = torch.arange(3).repeat_interleave(12)[:, None].repeat(1, 2)
    given[5] = 2  # of class 0, both labels wrong
    given[20, 0] = 0  # of class 1, the image's label wrong
    found = neighbour_labels(vectors, vectors, given, K, 11)
    assert found.agreeing.tolist() == [{5: 0, 20: 1}.get(i, 2) for i in range(36)]
    assert found.pseudo_labels[[5, 20]].tolist() == [0, 1]


def test_half_precision_counts_exactly():
    images = unit(30).half()
    found = neighbour_labels(images, images, labels(30), K, 7)
    exact = neighbour_labels(images.float(), images.float(), labels(30), K, 7)
    assert (found.agreeing == exact.agreeing).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="two vectors"):
        nearest_neighbours(unit(1), 3)
    with pytest.raises(ValueError, match="one neighbour"):
        nearest_neighbours(unit(3), 0)
    with pytest.raises(ValueError, match=r"5 images, 4 texts and labels of shape \(5, 1\)"):
        neighbour_labels(unit(5), unit(4), labels(5), K)
    with pytest.raises(ValueError, match=r"labels of shape \(5,\)"):
        neighbour_labels(unit(5), unit(5), labels(5)[:, 0], K)
