"""What an index of given images does to a data set: its layout, the rule it follows, what is left."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.checks import IntArray, check_integers, check_range, check_truth
from noise_injection.errors import NoiseError
from noise_injection.records import index_sha256


@dataclass(frozen=True)
class NoiseDescription:
    """An index of given images held against the true pairing.

    Attributes:
        layout: ``caption rows`` (an image for each caption row, rows moving one by one), ``expanded image
            rows`` (the same length, but all captions of an image always move together) or ``image
            permutation`` (one entry an image).
        protocol: ``caption``, ``image``, ``none`` (nothing differs) or ``other``.
        n_captions: number of caption rows.
        n_images: number of images.
        n_mismatched: caption rows whose given image is wrong.
        n_unchanged: caption rows that have their own image, whether or not they had been chosen.
        ratio_realised: ``n_mismatched / n_captions``.
        images_without_true_caption: images none of whose captions is still given to them.
        images_without_true_caption_share: the same, as a share of the images that have captions.
        images_by_true_captions: entry ``k`` is the number of images with captions that keep exactly ``k`` of
            them.
        is_permutation: whether images (or rows) only changed places, none being used more often than before.
        index_sha256: hash of the index as caption rows, the same for all layouts of the same noise.
    """

    layout: str
    protocol: str
    n_captions: int
    n_images: int
    n_mismatched: int
    n_unchanged: int
    ratio_realised: float
    images_without_true_caption: int
    images_without_true_caption_share: float
    images_by_true_captions: tuple[int, ...]
    is_permutation: bool
    index_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """All values by name, ready for JSON."""
        return {**dataclasses.asdict(self), "images_by_true_captions": list(self.images_by_true_captions)}

    def to_text(self) -> str:
        """A few readable lines, without a final newline."""
        kept = ", ".join(f"{count} keep {k}" for k, count in enumerate(self.images_by_true_captions) if count)
        rows = [
            ("layout", self.layout),
            ("protocol", self.protocol),
            ("captions", f"{self.n_captions} of {self.n_images} images"),
            ("mismatched", f"{self.n_mismatched} captions ({self.ratio_realised:.4%})"),
            ("unchanged", f"{self.n_unchanged} captions"),
            (
                "no true caption",
                f"{self.images_without_true_caption} images ({self.images_without_true_caption_share:.2%})",
            ),
            ("true captions", f"{kept} (images by captions kept)"),
            (
                "permutation",
                "yes" if self.is_permutation else "no, some images are used more often than before",
            ),
            ("sha256", self.index_sha256),
        ]
        return "\n".join(f"{name:<16} {value}" for name, value in rows)


def to_caption_rows(
    values: npt.NDArray[Any], truth: npt.NDArray[Any], n_images: int, what: str = "the noise index"
) -> IntArray:
    """Bring an index of any published layout to one image a caption row.

    Args:
        values: (n_captions,) image given to each caption row, or (n_images,) a permutation: the image put in
            the place of each image. Where there are as many captions as images, it is taken as the former.
        truth: (n_captions,) whole numbers, the image each caption was written for.
        n_images: number of images.
        what: what the array is, to begin error messages with.

    Returns:
        (n_captions,) int64, the image given to each caption row.

    Raises:
        NoiseError: the length, type or range is wrong, or a vector of one entry an image is no permutation.
    """
    truth = check_truth(truth, n_images)
    checked = check_integers(values, what)
    if checked.size not in (truth.size, n_images):
        raise NoiseError(
            f"{what} has {checked.size} entries; expected {truth.size} (one a caption) or {n_images} (one "
            "an image)"
        )
    check_range(checked, n_images, what)
    if checked.size == truth.size:
        return checked
    if np.unique(checked).size < n_images:
        raise NoiseError(
            f"{what} has one entry an image but is no permutation of 0 to {n_images - 1}; "
            "check that it is a noise file and not, say, labels"
        )
    return checked[truth]


def describe(values: npt.NDArray[Any], truth: npt.NDArray[Any], n_images: int) -> NoiseDescription:
    """Hold an index of given images against the true pairing.

    Which rows had been chosen cannot be seen from an index, only which differ; a chosen row that came back to
    its own image counts as unchanged. Where every image has one caption, the two protocols are the same rule,
    called ``caption`` here.

    Args:
        values: (n_captions,) image given to each caption row, or (n_images,) an image permutation.
        truth: (n_captions,) whole numbers, the image each caption was written for.
        n_images: number of images.

    Returns:
        The description.

    Raises:
        NoiseError: the index does not fit the data, see ``to_caption_rows``.
    """
    truth = check_truth(truth, n_images)
    index = to_caption_rows(np.asarray(values), truth, n_images)
    protocol = _protocol(index, truth, n_images)
    if len(values) != truth.size:
        layout = "image permutation"
    else:
        layout = "expanded image rows" if protocol == "image" else "caption rows"
    written = np.bincount(truth, minlength=n_images)  # (n_images,) captions of each image
    kept = np.bincount(truth[index == truth], minlength=n_images)  # (n_images,) of those, still in place
    histogram = np.bincount(kept[written > 0])
    n_mismatched = int((index != truth).sum())
    return NoiseDescription(
        layout=layout,
        protocol=protocol,
        n_captions=truth.size,
        n_images=int(n_images),
        n_mismatched=n_mismatched,
        n_unchanged=truth.size - n_mismatched,
        ratio_realised=n_mismatched / truth.size,
        images_without_true_caption=int(histogram[0]),
        images_without_true_caption_share=float(histogram[0] / histogram.sum()),
        images_by_true_captions=tuple(int(count) for count in histogram),
        is_permutation=protocol != "other",
        index_sha256=index_sha256(index),
    )


def _protocol(index: IntArray, truth: IntArray, n_images: int) -> str:
    """Which rule an index of caption rows follows."""
    if np.array_equal(index, truth):
        return "none"
    place = np.full(n_images, -1, dtype=np.int64)
    place[truth] = index  # (n_images,) the image given to one caption of each
    used = place[place >= 0]
    by_image = np.array_equal(place[truth], index) and np.unique(used).size == used.size
    if by_image and used.size < truth.size:  # some image has several captions
        return "image"
    if np.array_equal(np.bincount(index, minlength=n_images), np.bincount(truth, minlength=n_images)):
        return "caption"
    return "image" if by_image else "other"
