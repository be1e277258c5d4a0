"""The linear model of pairs against scikit-learn's ridge regression; test_cross_fitting.py has it by hand."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import Ridge

from robustcmr.selection.linear_model import RIDGE, ImageFeatures, LinearModel, pair_sums

N, N_IMAGES, WORDS, WIDTH = 60, 25, 8, 6


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(N, WORDS)) * (rng.random((N, WORDS)) < 0.5)
    features = torch.from_numpy(rng.normal(size=(N_IMAGES, WIDTH))).half()
    return texts, ImageFeatures(features), rng.integers(N_IMAGES, size=N), rng.random(N)


def scores(model, texts):
    return model.of_texts(texts) @ model.of_images(np.arange(N_IMAGES)).T


@pytest.mark.parametrize("store", [np.asarray, sparse.csr_array])
def test_scores_are_those_of_a_ridge_regression(pairs, store):
    texts, images, image_of, weights = pairs
    typical = texts[::2]
    found = scores(
        LinearModel(pair_sums(store(texts), images, image_of, weights), store(typical), images), texts
    )
    x, y, every = texts, images[image_of], images[np.arange(N_IMAGES)]

    def covariance(values):
        return np.cov(values.T, aweights=weights, bias=True)

    ridge = RIDGE * np.trace(covariance(x)) / WORDS
    regression = Ridge(alpha=ridge * weights.sum()).fit(x, y, sample_weight=weights)
    of_features = covariance(y)
    of_features += RIDGE * np.trace(of_features) / WIDTH * np.eye(WIDTH)
    mean = np.average(y, axis=0, weights=weights)
    raw = (regression.predict(x) - mean) @ np.linalg.solve(of_features, (every - mean).T)  # (N, n images)
    expected = (raw - raw[::2].mean(0)) / raw[::2].std(0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_scores_of_an_image_are_standardised_over_the_typical_captions(pairs):
    texts, images, image_of, weights = pairs
    typical = texts[10:40]
    found = scores(LinearModel(pair_sums(texts, images, image_of, weights), typical, images), typical)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(found.std(0), 1, rtol=1e-9)
