"""Means of the classes and classes that either modality supports, against slow loops."""

import pytest
import torch

from robustcmr.correction.class_centres import class_means, either_probability

K = 5


@pytest.mark.parametrize("columns", [1, 2])
def test_class_means_as_a_slow_loop(columns):
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 12, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(K - 1, (12, columns), generator=generator)  # the last class is given to none
    found = class_means(images, texts, labels, K)
    for k in range(K):
        members = [images[i] for i in range(12) if labels[i, 0] == k]
        members += [texts[i] for i in range(12) if labels[i, -1] == k]
        slow = torch.stack(members).mean(0) if members else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(found[k], slow)


def test_either_probability_is_that_of_independent_events():
    p, q = torch.rand(2, 6, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(either_probability(p, q), p + q - p * q)
