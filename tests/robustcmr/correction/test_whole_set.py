"""Suggestions over a whole set: against the dense plan, synthetic matches, hubs, limits and symmetries."""

import pytest
import torch

from robustcmr.correction.candidates import Candidates, nearest_candidates
from robustcmr.correction.rematching import rematch
from robustcmr.correction.whole_set import rematch_whole_set


def synthetic(n=30, m=50, d=24, noise=0.05, seed=0):
    """Unit vectors of m images, and of n captions of the first n images in a random order."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.nn.functional.normalize(torch.randn(m, d, generator=generator), dim=-1)
    own = torch.randperm(n, generator=generator)
    texts = images[own] + noise * torch.randn(n, d, generator=generator)
    return torch.nn.functional.normalize(texts, dim=-1), images, own


def chosen(found, plan):
    return found.images.gather(1, plan.place.unsqueeze(1)).squeeze(1)


def test_synthetic_matches_are_suggested():
    texts, images, own = synthetic()
    found = nearest_candidates(texts, images, 8)
    plan = rematch_whole_set(found, 50, mass=0.9)
    assert torch.equal(chosen(found, plan), own)
    assert plan.converged
    assert plan.mass == pytest.approx(0.9, rel=1e-4)
    assert (plan.asked, plan.edges) == (0.9, 240)
    assert plan.error <= 1e-4
    assert plan.iterations > 0
    assert plan.seconds > 0
    assert (plan.share > 0.99).all()
    assert (plan.margin > 0.98).all()
    assert plan.moved.sum().item() / 30 == pytest.approx(0.9, rel=1e-3)


def test_agrees_with_the_dense_plan_when_all_images_are_candidates():
    texts, images, _ = synthetic(n=20, m=20, noise=0.4)
    excluded = torch.arange(20)
    found = nearest_candidates(texts, images, 20, excluded)
    plan = rematch_whole_set(found, 20, mass=0.6, epsilon=0.05, tolerance=1e-5)
    allowed = ~torch.eye(20, dtype=torch.bool)
    dense = rematch(1 - texts @ images.T, allowed, 0.6, 0.05, tolerance=1e-6)
    rows, columns, _ = found.edges()
    P = torch.zeros(20, 20)
    P[rows, columns] = plan.plan[found.images >= 0]
    assert (P - dense.plan).abs().max() < 1e-5
    assert torch.equal(chosen(found, plan), dense.plan.argmax(1))


def test_an_image_wanted_by_all_goes_to_the_one_it_fits_best():
    """The best score sends everyone to one image; the plan can not."""
    scores = torch.tensor([[0.9, 0.7], [0.9, 0.8], [0.9, 0.85]])
    hub = Candidates(torch.tensor([[0, 1], [0, 2], [0, 3]]), scores, 6, "all")
    plan = rematch_whole_set(hub, 4, mass=1.0, epsilon=0.005)
    assert plan.place.tolist() == [0, 1, 1]
    shared = rematch_whole_set(hub, 4, mass=0.9, epsilon=0.005, capacity=3.0)
    assert shared.place.tolist() == [0, 0, 0]
    assert shared.mass == pytest.approx(0.9, rel=1e-3)


def test_even_shares_let_several_captions_share_an_image():
    """Six captions of two images: each may take three, and none is asked to look elsewhere."""
    images = torch.tensor([[0, 1]] * 3 + [[1, 0]] * 3)
    scores = torch.tensor([[0.9, 0.1]] * 6)
    plan = rematch_whole_set(Candidates(images, scores, 12, "all"), 2, mass=0.98)
    assert plan.place.tolist() == [0] * 6
    assert (plan.share > 0.999).all()
    with_one = rematch_whole_set(Candidates(images, scores, 12, "all"), 2, mass=0.3, capacity=1.0)
    assert with_one.mass == pytest.approx(0.3, rel=1e-3)


def test_less_is_moved_where_candidates_let_less_pass():
    """Four captions want one image, which may take one of them: a quarter at most."""
    scores = torch.tensor([[0.2], [0.9], [0.5], [0.4]])
    hub = Candidates(torch.zeros(4, 1, dtype=torch.int64), scores, 4, "all")
    plan = rematch_whole_set(hub, 9, mass=0.5)
    assert plan.mass == pytest.approx(0.99 * 0.25, rel=1e-3)
    assert plan.asked == 0.5
    assert plan.converged
    assert torch.equal(plan.margin, plan.share)
    assert plan.share.tolist() == pytest.approx([1.0] * 4)


def test_captions_without_candidates_get_no_suggestion():
    images = torch.tensor([[2, 1], [-1, -1], [0, -1]])
    scores = torch.tensor([[0.9, 0.2], [-torch.inf, -torch.inf], [0.5, -torch.inf]])
    plan = rematch_whole_set(Candidates(images, scores, 3, "all"), 3, mass=0.4)
    assert plan.place.tolist() == [0, -1, 0]
    assert plan.share.isnan().tolist() == plan.margin.isnan().tolist() == [False, True, False]
    assert plan.plan[1].tolist() == [0.0, 0.0]
    assert plan.moved[1] == 0
    none = rematch_whole_set(Candidates(images[1:2], scores[1:2], 0, "all"), 3)
    assert (none.mass, none.converged, none.iterations, none.edges) == (0.0, True, 0, 0)
    assert none.place.tolist() == [-1]


def test_a_caption_the_plan_leaves_alone_still_says_what_it_would_take():
    """Its scores lie hundreds of epsilons below the others, so it moves less than float32 can tell."""
    images = torch.tensor([[0, 1], [2, 3]])
    scores = torch.tensor([[0.9, 0.1], [-40.0, -40.01]])
    plan = rematch_whole_set(Candidates(images, scores, 4, "all"), 4, mass=0.3, epsilon=0.01)
    assert plan.moved[1] == 0
    assert plan.place.tolist() == [0, 0]
    assert plan.share[1].item() == pytest.approx(1 / (1 + torch.e**-1.0), abs=1e-2)


def test_order_of_captions_does_not_matter():
    texts, images, _ = synthetic(noise=0.3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(5))
    options = {"mass": 0.7, "epsilon": 0.02, "tolerance": 1e-6}
    plan = rematch_whole_set(nearest_candidates(texts, images, 10), 50, **options)
    other = rematch_whole_set(nearest_candidates(texts[order], images, 10), 50, **options)
    assert torch.equal(other.place, plan.place[order])
    assert torch.allclose(other.share, plan.share[order], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mass": 0.0}, "above 0 and at most 1, got 0"),
        ({"mass": 1.1}, r"got 1\.1"),
        ({"capacity": 0.0}, "must be above 0, got 0"),
        ({"epsilon": 0.0}, "epsilon and tolerance must be positive"),
        ({"n_images": 0}, "captions and images to rematch, got 2 and 0"),
    ],
)
def test_bad_input_is_refused(options, says):
    few = Candidates(torch.tensor([[0], [1]]), torch.ones(2, 1), 2, "all")
    with pytest.raises(ValueError, match=says):
        rematch_whole_set(few, **{"n_images": 3, **options})
