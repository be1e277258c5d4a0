from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from noise_injection import NoiseError, NoiseFile, make_mismatch, regular_truth
from noise_injection.commands import data_of


def test_nothing_to_tell_the_number_of_captions() -> None:
    with pytest.raises(NoiseError, match="number of captions is unknown"):
        data_of(None, None, None)


def test_a_record_tells_captions_per_image() -> None:
    index, record = make_mismatch(regular_truth(12, 3), 4, 0.5, "caption", 0)
    truth, n_images = data_of(None, None, None, NoiseFile(Path("n.npz"), index, record))
    assert truth.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert n_images == 4


def test_images_without_captions_at_the_end_are_known_from_the_record(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([0, 0, 1]))
    index, record = make_mismatch(np.array([0, 0, 1]), 5, 0.5, "image", 0)
    noise = NoiseFile(Path("n.npz"), index, record)
    assert data_of(None, None, tmp_path / "t.npy", noise)[1] == 5
    assert data_of(3, None, tmp_path / "t.npy")[1] == 2
    with pytest.raises(NoiseError, match=r"there are 4 captions and .* has 3 entries"):
        data_of(4, None, tmp_path / "t.npy")


@pytest.mark.parametrize(("values", "captions"), [(np.arange(10)[::-1], 50), (np.arange(10) // 5, 10)])
def test_a_permutation_is_taken_as_one_of_images(values: np.ndarray, captions: int) -> None:
    assert data_of(None, None, None, NoiseFile(Path("n.npy"), values, None))[0].size == captions


@pytest.mark.parametrize("protocol", ["caption", "image"])
def test_captions_grouped_by_identifiers_ask_for_the_truth(protocol: str, tmp_path: Path) -> None:
    truth = np.arange(40) % 8  # first captions of all images, then the second ones, ...
    np.save(tmp_path / "t.npy", truth)
    index, record = make_mismatch(truth, 8, 0.4, protocol, 0)
    noise = NoiseFile(Path("n.npz"), index, record)
    wrong = int((index != truth).sum())
    with pytest.raises(NoiseError) as caught:
        data_of(None, None, None, noise)
    assert str(caught.value).startswith(f"the record of n.npz counts {wrong} wrong captions, and there are")
    assert "if every 5 captions in a row are of one image" in str(caught.value)
    assert str(caught.value).endswith("give the image of each caption with --truth FILE.npy")
    assert data_of(None, None, tmp_path / "t.npy", noise)[0].tolist() == truth.tolist()
