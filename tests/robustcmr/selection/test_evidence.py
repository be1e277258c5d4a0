"""Evidence against slow loops written from the definition."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from robustcmr.errors import ConfigError
from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.selection import batch_cross_entropy, batch_hinge


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
    with pytest.raises(ConfigError, match="2 of 2 pairs have no negative in their batch"):
        batch_hinge(torch.rand(2, 2), 0.2, same)
    with pytest.raises(ConfigError, match="1 of 1 pairs"):
        batch_hinge(torch.rand(1, 1), 0.2)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"scores must be \(B, B\)"):
        batch_hinge(torch.rand(3, 4), 0.2)
    with pytest.raises(ValueError, match="same_image must be"):
        batch_hinge(torch.rand(3, 3), 0.2, torch.eye(4, dtype=torch.bool))


IMAGES = torch.tensor([0, 1, 0, 2, 2, 3, 1, 4])


def sharing(images):
    return images[:, None] == images[None, :]


def random_scores(n, seed=0):
    return torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mismatched_by_loops(scores, temperature, image_of_pair):
    """What caption i with the image of pair i + 1 would cost: the given pairs of both are taken away."""
    n, result = len(scores), []
    for i in range(n):
        k = (i + 1) % n
        if image_of_pair[i] == image_of_pair[k]:
            result.append(math.nan)
            continue
        pair = math.exp(scores[k][i] / temperature)
        captions = images = pair
        for j in range(n):
            if j != i and image_of_pair[j] != image_of_pair[k]:  # captions that image k was not given
                captions += math.exp(scores[k][j] / temperature)
            if j != k and image_of_pair[j] != image_of_pair[i]:  # images that caption i was not given
                images += math.exp(scores[j][i] / temperature)
        result.append(-0.5 * (math.log(pair / captions) + math.log(pair / images)))
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_cross_entropies_of_given_and_mismatched_pairs(temperature, masked):
    scores = random_scores(8)
    images = IMAGES if masked else torch.arange(8)
    same = sharing(images) if masked else None
    found = batch_cross_entropy(scores, temperature, same)
    assert found.shape == (8, 2)
    torch.testing.assert_close(found[:, 0], infonce_loss(scores, temperature, same))
    expected = mismatched_by_loops(scores.tolist(), temperature, images.tolist())
    torch.testing.assert_close(found[:, 1], expected, equal_nan=True)
    assert found[:, 1].isnan().tolist() == (images == images.roll(-1)).tolist()
    assert (found[:, 0] >= 0).all()
    assert (found[~found[:, 1].isnan(), 1] >= 0).all()


def test_what_was_given_does_not_matter_to_a_mismatched_pair():
    """Its evidence is the same however well the given pairs fit."""
    scores, same = random_scores(8), sharing(IMAGES)
    other = scores.masked_fill(same, 50.0)
    plain, raised = batch_cross_entropy(scores, 0.1, same), batch_cross_entropy(other, 0.1, same)
    torch.testing.assert_close(raised[:, 1], plain[:, 1], equal_nan=True)
    assert (raised[:, 0] < plain[:, 0]).all()


def test_two_pairs_and_two_of_one_image():
    scores = random_scores(2)
    torch.testing.assert_close(batch_cross_entropy(scores, 0.1)[:, 1], torch.zeros(2, dtype=torch.float64))
    both = batch_cross_entropy(scores, 0.1, torch.ones(2, 2, dtype=torch.bool))
    assert both[:, 1].isnan().all()
    assert not both[:, 0].any()


def test_an_untrained_matcher_tells_given_from_mismatched_pairs_by_nothing():
    """But for the one candidate fewer of a mismatched pair, which is lost among 128."""
    rng = np.random.default_rng(2)
    found = torch.cat(
        [batch_cross_entropy(torch.from_numpy(0.1 * rng.normal(size=(128, 128))), 0.05) for _ in range(40)]
    )
    assert stats.ks_2samp(*found.T.numpy()).pvalue > 0.05
    # while matches that are a spread better are told at once
    better = torch.cat(
        [
            batch_cross_entropy(torch.from_numpy(0.1 * (rng.normal(size=(128, 128)) + np.eye(128))), 0.05)
            for _ in range(4)
        ]
    )
    assert stats.ks_2samp(*better.T.numpy()).pvalue < 1e-9


def test_cross_entropy_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"scores must be \(B, B\)"):
        batch_cross_entropy(torch.rand(3, 4), 0.2)
    with pytest.raises(ValueError, match="same_image must be"):
        batch_cross_entropy(torch.rand(3, 3), 0.2, torch.eye(4, dtype=torch.bool))
