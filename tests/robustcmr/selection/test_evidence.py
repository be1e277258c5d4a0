"""Evidence against slow loops written from the definition."""

import pytest
import torch

from robustcmr.selection import batch_hinge


def by_loops(scores, margin, same_image=None):
    n = len(scores)
    result = []
    for i in range(n):
        others = [j for j in range(n) if j != i and (same_image is None or not same_image[i][j])]
        captions = sum(max(0.0, margin - float(scores[i][i]) + float(scores[i][j])) for j in others)
        images = sum(max(0.0, margin - float(scores[i][i]) + float(scores[j][i])) for j in others)
        result.append((captions + images) / len(others))
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize("margin", [0.05, 0.2, 3.0])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_loops(margin, masked):
    scores = torch.rand(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image = torch.tensor([0, 1, 0, 2, 3, 1, 0])
    same = image[:, None] == image[None, :] if masked else None
    torch.testing.assert_close(batch_hinge(scores, margin, same), by_loops(scores, margin, same))


def test_a_wrong_pair_stands_out_whatever_the_batch_size():
    """One pair fits no better than any other cell; the mean does not grow with the batch."""
    for n in (4, 50):
        scores = 0.1 * torch.ones(n, n) + 0.8 * torch.eye(n)
        scores[2, 2] = 0.1
        values = batch_hinge(scores, 0.2)
        torch.testing.assert_close(values[2], torch.tensor(0.4))
        assert not values[[0, 1, 3]].any()


def test_a_pair_without_negatives_is_refused():
    same = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="2 of 2 pairs have no negative in their batch"):
        batch_hinge(torch.rand(2, 2), 0.2, same)
    with pytest.raises(ValueError, match="1 of 1 pairs"):
        batch_hinge(torch.rand(1, 1), 0.2)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"scores must be \(B, B\)"):
        batch_hinge(torch.rand(3, 4), 0.2)
    with pytest.raises(ValueError, match="same_image must be"):
        batch_hinge(torch.rand(3, 3), 0.2, torch.eye(4, dtype=torch.bool))
