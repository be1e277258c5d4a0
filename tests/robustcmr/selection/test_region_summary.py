"""Summaries of images against plain NumPy: what masks hide does not count, and pictures have patches."""

import numpy as np
import pytest
import torch

from robustcmr.selection import region_summary
from robustcmr.selection.region_summary import RegionSummary
from robustcmr.types import ImageBatch

N, REGIONS, WIDTH = 9, 4, 6


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(N, REGIONS, generator=generator) < 0.7
    mask[:, 0] = True
    features = torch.randn(N, REGIONS, WIDTH, generator=generator) * torch.arange(1.0, WIDTH + 1)
    return ImageBatch(features.masked_fill(~mask[..., None], 0), mask)


def by_numpy(batch, sample):
    """Means of all components, and mean squares of those that come first."""
    seen = sample.features.numpy()[sample.mask.numpy()].astype(float)
    values, vectors = np.linalg.eigh(np.cov(seen.T))
    vectors = vectors[:, np.argsort(-values)]
    rows = []
    for features, mask in zip(batch.features.numpy(), batch.mask.numpy(), strict=True):
        parts = (features[mask] - seen.mean(0)) @ vectors
        rows.append(np.concatenate([parts.mean(0), (parts**2).mean(0)]))
    return np.array(rows)


def test_means_and_mean_squares_of_the_components():
    batch, sample = images(), images(1)
    found, expected = RegionSummary(sample)(batch).numpy(), by_numpy(batch, sample)
    assert found.shape == (N, 2 * WIDTH)
    np.testing.assert_allclose(abs(found), abs(expected), rtol=2e-4, atol=2e-4)  # components have no sign


def test_what_the_mask_hides_does_not_count():
    batch = images()
    summary = RegionSummary(batch)
    other = batch.features.clone()
    other[~batch.mask] = 99.0
    torch.testing.assert_close(summary(ImageBatch(other, batch.mask)), summary(batch))


def test_few_components_of_many(monkeypatch):
    monkeypatch.setattr(region_summary, "MEANS", 4)
    monkeypatch.setattr(region_summary, "SQUARES", 2)
    batch = images()
    found = RegionSummary(batch)(batch)
    assert found.shape == (N, 4 + 2)
    expected = by_numpy(batch, batch)
    np.testing.assert_allclose(
        abs(found), abs(expected[:, [0, 1, 2, 3, WIDTH, WIDTH + 1]]), rtol=2e-4, atol=2e-4
    )


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (40, 64)])
def test_pictures_are_summarised_by_their_patches(size):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(5, 3, *size, generator=generator)
    batch = ImageBatch(pixels, torch.ones(5, 1, dtype=torch.bool))
    found = RegionSummary(batch)(batch)
    assert found.shape == (5, 192 + 64)
    brighter = RegionSummary(batch)(ImageBatch(pixels + 0.5, batch.mask))
    assert (brighter - found).abs().max() > 0.1
    if size == (32, 32):  # a patch is 8 by 8 pixels of three colours
        patches = pixels.reshape(5, 3, 4, 8, 4, 8).permute(0, 2, 4, 1, 3, 5).reshape(5, 16, 192)
        plain = ImageBatch(patches, torch.ones(5, 16, dtype=torch.bool))
        torch.testing.assert_close(found, RegionSummary(plain)(plain), atol=1e-4, rtol=1e-4)
