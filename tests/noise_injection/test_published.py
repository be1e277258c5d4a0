"""The real Flickr30K files, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from noise_injection import describe, load_noise, read_captions, read_names, regular_truth, verify
from noise_injection.cli import main

TRUTH = regular_truth(145_000, 5)


def load(shared_data: Path, name: str) -> np.ndarray:
    return np.load(shared_data / "noise_index" / name, allow_pickle=False)


def test_caption_file(shared_data: Path) -> None:
    values = load(shared_data, "f30k_caption_0.4_seed96.npy")
    index, record = load_noise(shared_data / "noise_index" / "f30k_caption_0.4_seed96.npy", TRUTH, 29_000)
    np.testing.assert_array_equal(index, values)
    assert (record.protocol, record.n_mismatched, record.ratio_realised) == ("caption", 58_000, 0.4)
    found = describe(values, TRUTH, 29_000)
    assert (found.layout, found.is_permutation, found.images_without_true_caption) == (
        "caption rows",
        True,
        281,
    )
    assert verify(values, TRUTH, 29_000, "caption", 0.4, 96).matches


def test_image_files_are_one_noise_in_two_layouts(shared_data: Path) -> None:
    rows = load(shared_data, "f30k_image_0.4.npy")
    permutation = load(shared_data, "f30k_image_permutation_0.4.npy")
    np.testing.assert_array_equal(rows, np.repeat(permutation, 5))
    found = [describe(values, TRUTH, 29_000) for values in (rows, permutation)]
    assert [one.layout for one in found] == ["expanded image rows", "image permutation"]
    for one in found:
        assert (one.protocol, one.n_mismatched, one.images_without_true_caption) == ("image", 58_000, 11_600)
        assert one.index_sha256 == "90c4d0838e885fa94a97ba026e807f01db7d583e261bd6a98ed2d877ab8174f7"


@pytest.mark.parametrize(
    "name", ["f30k_caption_0.4_seed96.npy", "f30k_image_0.4.npy", "f30k_image_permutation_0.4.npy"]
)
def test_command_line_applies_them(shared_data: Path, name: str, tmp_path: Path) -> None:
    source = shared_data / "noise_index" / name
    assert main(["describe", str(source)]) == 0
    assert main(["apply", str(source), "-o", str(tmp_path / "rows.npy")]) == 0
    values = np.load(source)
    expected = values if values.size == 145_000 else np.repeat(values, 5)
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), expected)


def test_real_captions(shared_data: Path) -> None:
    captions = read_captions(shared_data / "f8k_precomp" / "train_caps.txt")
    assert len(captions) == 30_000
    assert (
        len(read_names(shared_data / "f8k_precomp" / "train_ids.txt", regular_truth(30_000, 5), 6000)) == 6000
    )
