"""Partners of suspected captions: against plain loops, and what may and may not be drawn."""

import dataclasses

import numpy as np
import pytest
import torch

from robustcmr.correction import draw_partners, partners
from robustcmr.correction.partners import partner_chances
from robustcmr.selection import linear_model, rare_words
from robustcmr.types import PairContents, PairVectors

N_IMAGES, UNUSED, EACH = 12, 5, 3
PAIRED = np.delete(np.arange(N_IMAGES), UNUSED)
N = len(PAIRED) * EACH
ALL = np.arange(N)


def unit(rng, *shape):
    return torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=shape)), dim=-1).half()


def made(stored=False):
    """Captions and images of chance, three captions an image and one image without any; their vectors."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(N_IMAGES, 6))).half()
    captions, words = np.repeat(ALL, 3), rng.integers(9, size=3 * N)
    spoken = rare_words([], [], N) if stored else rare_words(captions, words, N)
    image_of = rng.permutation(np.repeat(PAIRED, EACH))
    contents = PairContents(spoken, features, image_of, np.roll(ALL, 1), unit(rng, N, 5) if stored else None)
    return contents, PairVectors(unit(rng, N_IMAGES, 4), unit(rng, N, 4))


def believed(contents):
    """Random beliefs; none in the captions of three images."""
    belief = np.random.default_rng(1).random(N)
    return np.where(contents.image_of < 3, 0.3, belief)


def standardised(scores):
    return (np.array(scores) - np.mean(scores)) / np.std(scores, ddof=1)


def by_loops(contents, vectors, belief, caption):
    """The chance of each image, (n images,), before the others than the best are left out; 0 of the given."""
    images = linear_model.ImageFeatures(contents.features)
    texts = linear_model.texts_of(contents)
    weights = np.maximum(belief, linear_model.LEAST_WEIGHT)
    sums = linear_model.pair_sums(texts, images, contents.image_of, weights)
    model = linear_model.LinearModel(sums, texts, images)
    linear = model.of_texts(texts[[caption]]) @ model.of_images(PAIRED).T
    t, v = vectors.texts.double().numpy(), vectors.images.double().numpy()
    w = contents.words.toarray().astype(float)
    spoken = []
    for image in PAIRED:
        spoken.append(0.0)
        for other in ALL:
            if belief[other] > 0.5 and contents.image_of[other] == image:
                alike = t[caption] @ t[other] + w[caption] @ w[other]
                spoken[-1] += belief[other] * np.exp(alike / partners.HEAT)
    scores = standardised([t[caption] @ v[image] for image in PAIRED]) + standardised(linear[0])
    if any(spoken):
        scores += partners.SIBLINGS * np.log(np.array(spoken) + partners.FLOOR * np.mean(spoken))
    chances = np.zeros(N_IMAGES)
    chances[PAIRED] = np.exp(scores / partners.TEMPERATURE)
    chances[contents.image_of[caption]] = 0
    return chances


def among_the_best(chances, count):
    kept = np.zeros(len(chances))
    best = np.argsort(-chances)[:count]
    kept[best] = chances[best] / chances[best].sum()
    return best, kept


@pytest.mark.parametrize("anything_believed", [True, False])
@pytest.mark.parametrize("stored", [False, True])
def test_the_chances_by_hand(monkeypatch, stored, anything_believed):
    monkeypatch.setattr(partners, "CANDIDATES", 6)
    contents, vectors = made(stored)
    belief = believed(contents) * anything_believed
    suspected = np.array([3, 30, 3, 0, 17, 8])
    images, chances = partner_chances(contents, vectors, belief, suspected, np.random.default_rng(0))
    assert images.shape == chances.shape == (6, 6)
    for row, caption in enumerate(suspected):
        best, expected = among_the_best(by_loops(contents, vectors, belief, caption), 6)
        assert images[row].tolist() == best.tolist()
        np.testing.assert_allclose(chances[row], expected[best], rtol=1e-4)


def test_draws_follow_the_chances_of_the_best(monkeypatch):
    monkeypatch.setattr(partners, "CANDIDATES", 5)
    contents, vectors = made()
    belief, times = believed(contents), 5000
    for caption in (4, 20):
        again = np.full(times, caption)
        drawn = draw_partners(contents, vectors, belief, again, np.random.default_rng(caption))
        share = np.bincount(contents.image_of[drawn], minlength=N_IMAGES) / times
        _, expected = among_the_best(by_loops(contents, vectors, belief, caption), 5)
        assert (abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / times)).all()


def test_every_image_of_a_pair_is_reached_except_the_given_one(monkeypatch):
    """Whether a believed caption speaks for it or not, and whichever of its pairs is given."""
    monkeypatch.setattr(partners, "TEMPERATURE", 10.0)  # no chance is small
    contents, vectors = made()
    suspected = np.repeat(ALL, 300)
    drawn = draw_partners(contents, vectors, believed(contents), suspected, np.random.default_rng(0))
    assert drawn.min() >= 0
    reached = contents.image_of[drawn].reshape(N, -1)
    for caption in ALL:
        others = set(PAIRED.tolist()) - {int(contents.image_of[caption])}
        assert set(reached[caption].tolist()) == others


def test_captions_find_the_image_that_they_were_taken_from():
    """Forty images with words, features and vectors of their own; a third of the captions was moved."""
    n_images, rng = 40, np.random.default_rng(0)
    true = np.repeat(np.arange(n_images), 3)
    n = len(true)
    moved = np.arange(0, n, 3)
    image_of = true.copy()
    image_of[moved] = np.roll(true[moved], 7)
    topic = rng.normal(size=(n_images, 24))
    near = [topic[which] + rng.normal(size=(len(which), 24)) for which in (np.arange(n_images), true)]
    sides = [torch.nn.functional.normalize(torch.from_numpy(side), dim=-1).half() for side in near]
    words = np.column_stack([2 * true, 2 * true + 1, 2 * n_images + rng.integers(20, size=n)]).ravel()
    contents = PairContents(
        rare_words(np.repeat(np.arange(n), 3), words, n),
        torch.from_numpy(topic).half(),
        image_of,
        np.roll(true, 1),
    )
    belief = np.where(np.isin(np.arange(n), moved), 0.0, 1.0)
    drawn = draw_partners(contents, PairVectors(*sides), belief, np.repeat(moved, 20), rng)
    found = image_of[drawn] == np.repeat(true[moved], 20)
    assert found.mean() > 0.5  # by chance 1/39


def test_one_image_alone_leaves_captions_their_own_pair():
    contents, vectors = made()
    alone = dataclasses.replace(contents, image_of=np.full(N, 4))
    suspected = np.array([7, 2])
    drawn = draw_partners(alone, vectors, np.ones(N), suspected, np.random.default_rng(0))
    assert drawn.tolist() == [7, 2]
    images, chances = partner_chances(alone, vectors, np.ones(N), suspected, np.random.default_rng(0))
    assert images.shape == chances.shape == (2, 0)


def test_nothing_suspected_draws_nothing():
    contents, vectors = made()
    drawn = draw_partners(contents, vectors, np.ones(N), ALL[:0], np.random.default_rng(0))
    assert (drawn.shape, drawn.dtype) == ((0,), np.int64)


def test_draws_depend_on_the_generator_alone(monkeypatch):
    contents, vectors = made()

    def draw(seed):
        return draw_partners(contents, vectors, believed(contents), ALL, np.random.default_rng(seed)).tolist()

    first = draw(3)
    assert draw(3) == first
    assert draw(4) != first
    monkeypatch.setattr(partners, "_ROWS", 5)
    assert draw(3) == first


def test_of_larger_data_each_call_draws_from_another_sample(monkeypatch):
    monkeypatch.setattr(partners, "MOST_IMAGES", 5)
    contents, vectors = made()
    rng, reached = np.random.default_rng(0), []
    for _ in range(30):
        images, chances = partner_chances(contents, vectors, believed(contents), ALL, rng)
        assert images.shape == (N, 4)
        assert np.isfinite(chances).all()
        assert len(np.unique(images)) == 5
        assert not (images == contents.image_of[:, None]).any()  # in the sample or not
        reached.append(images.ravel())
    assert np.unique(np.concatenate(reached)).tolist() == PAIRED.tolist()


@pytest.mark.parametrize("wrong", ["belief", "texts", "images"])
def test_shapes_that_do_not_fit_are_refused(wrong):
    contents, vectors = made()
    belief = np.ones(N - (wrong == "belief"))
    if wrong != "belief":
        vectors = dataclasses.replace(vectors, **{wrong: getattr(vectors, wrong)[1:]})
    with pytest.raises(
        ValueError, match="expected beliefs and text vectors of 33 pairs and vectors of 12 images"
    ):
        draw_partners(contents, vectors, belief, ALL, np.random.default_rng(0))
