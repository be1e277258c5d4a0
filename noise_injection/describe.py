"""Noise compared with the truth: how much is wrong, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noise_injection import checks
from noise_injection.checks import Array, IntArray, NoiseError
from noise_injection.records import Report, counted, counted_labels

WIDEST_MATRIX = 12  # classes whose transitions still fit a terminal
MOST_TRANSITIONS = 1000  # classes whose transitions are counted


@dataclass(frozen=True)
class NoiseDescription(Report):
    """An index of given images compared with the true pairing.

    Attributes:
        layout: ``caption rows`` (one image per caption row), ``expanded image rows`` (the same, but all
            captions of an image move together) or ``image permutation`` (one entry per image).
        protocol: ``caption``, ``image``, ``none`` (nothing is wrong) or ``other``.
        n_captions, n_images, n_mismatched, ratio_realised: as in ``NoiseRecord``.
        n_unchanged: caption rows given their own image, chosen or not.
        images_without_true_caption: images that lost all their captions.
        images_without_true_caption_share: the same as a share of the images that have captions.
        images_by_true_captions: entry ``k`` counts the images with captions that keep exactly ``k``.
        is_permutation: whether images or rows only changed places, so that no image is used more often.
        index_sha256: hash of the index as caption rows, the same for every layout of one noise.
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

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of ``to_text``."""
        kept = ", ".join(f"{count} keep {k}" for k, count in enumerate(self.images_by_true_captions) if count)
        share = f"{self.images_without_true_caption_share:.2%}"
        return [
            ("layout", self.layout),
            ("protocol", self.protocol),
            ("captions", f"{self.n_captions} of {self.n_images} images"),
            ("mismatched", f"{self.n_mismatched} captions ({self.ratio_realised:.4%})"),
            ("unchanged", f"{self.n_unchanged} captions"),
            ("no true caption", f"{self.images_without_true_caption} images ({share})"),
            ("true captions", f"{kept} (images by captions kept)"),
            ("permutation", "yes" if self.is_permutation else "no, some images are used more often"),
            ("sha256", self.index_sha256),
        ]


@dataclass(frozen=True)
class LabelDescription(Report):
    """Given labels compared with the true ones; "column" is the one shared by a pair, or one per modality.

    Attributes:
        protocol, n, n_classes, n_wrong, ratio_realised, ratio_by_modality, labels_sha256: as in
            ``LabelNoiseRecord``.
        transitions: by column (K, K) counts; entry ``[c][g]`` is the number of rows of class c labelled g.
            Empty with more than 1,000 classes.
        wrong_by_class: by column and class, the share of rows labelled wrong; None for a class without rows.
        agreement: share of rows whose two labels are equal; None for shared labels.
        both_wrong: share of rows whose two labels are both wrong, equal or not; None for shared labels.
    """

    protocol: str
    n: int
    n_classes: int
    n_wrong: tuple[int, ...]
    ratio_realised: float
    ratio_by_modality: tuple[float, ...]
    transitions: tuple[tuple[tuple[int, ...], ...], ...]
    wrong_by_class: tuple[tuple[float | None, ...], ...]
    agreement: float | None
    both_wrong: float | None
    labels_sha256: str

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of ``to_text``, with the transitions of up to 12 classes."""
        names = ("pair",) if self.protocol == "shared" else ("image", "text")
        rows = [
            ("protocol", self.protocol),
            ("rows", f"{self.n} of {self.n_classes} classes"),
            ("wrong", f"{sum(self.n_wrong)} labels ({self.ratio_realised:.4%})"),
        ]
        if self.agreement is not None and self.both_wrong is not None:
            for name, count, share in zip(names, self.n_wrong, self.ratio_by_modality, strict=True):
                rows.append((f"wrong {name}s", f"{count} labels ({share:.4%})"))
            rows.append(("agreement", f"{self.agreement:.2%} of the rows have equal labels"))
            rows.append(("both wrong", f"{self.both_wrong:.2%} of the rows"))
        for name, shares in zip(names, self.wrong_by_class, strict=True):
            known = [share for share in shares if share is not None]
            head = "wrong by class" if len(names) == 1 else f"by class, {name}"
            rows.append((head, f"{min(known):.2%} to {max(known):.2%}"))
        rows.append(("sha256", self.labels_sha256))
        if self.n_classes > WIDEST_MATRIX:
            return [*rows, ("transitions", f"{self.n_classes} classes, too many to show here")]
        for name, matrix in zip(names, self.transitions, strict=True):
            rows.append(("transitions", f"{name}s by true class (down) and given class (across)"))
            width = max(5, *(len(str(count)) + 1 for row in matrix for count in row))
            rows.append(("", "".join(f"{given:>{width}}" for given in range(self.n_classes))))
            for own, row in enumerate(matrix):
                rows.append((f"{own:>16}", "".join(f"{count:>{width}}" for count in row)))
        return rows


def to_caption_rows(values: Array, truth: Array, n_images: int, what: str = "the noise index") -> IntArray:
    """Convert an index of any published layout to one image per caption row.

    Args:
        values: (n_captions,) image given to each caption row, or (n_images,) a permutation: the image that
            takes the place of each image. With as many captions as images it is read as the former.
        truth: (n_captions,) integers, the image each caption was written for.
        n_images: number of images.
        what: name of the array in error messages.

    Returns:
        (n_captions,) int64, the image given to each caption row.

    Raises:
        NoiseError: one entry per image is given that is no permutation.

    Example:
        >>> to_caption_rows(np.array([1, 0]), np.array([0, 0, 1]), n_images=2).tolist()
        [1, 1, 0]
    """
    truth = checks.truth(truth, n_images)
    values = np.asarray(values)
    if values.ndim == 1 and values.size not in (0, truth.size, n_images):
        raise NoiseError(
            f"{what} has {values.size} entries; expected {truth.size} (one per caption) or {n_images} (one "
            "per image)"
        )
    checked = checks.vector(values, n_images, what)
    if checked.size == truth.size:
        return checked
    if np.unique(checked).size < n_images:
        raise NoiseError(
            f"{what} has one entry per image but is no permutation of 0 to {n_images - 1}; check that it is "
            "a noise file and not, say, labels"
        )
    return checked[truth]


def describe(values: Array, truth: Array, n_images: int) -> NoiseDescription:
    """Describe an index of given images.

    An index shows which rows differ, not which were chosen: a chosen row that returned to its own image
    counts as unchanged. If every image has one caption, both protocols are the same rule, called ``caption``.
    Arguments are those of ``to_caption_rows``.

    Example:
        >>> found = describe(np.array([0, 1, 0, 1]), truth=np.array([0, 0, 1, 1]), n_images=2)
        >>> found.protocol, found.n_mismatched, found.images_by_true_captions
        ('caption', 2, (0, 2))
    """
    truth = checks.truth(truth, n_images)
    index = to_caption_rows(values, truth, n_images)
    protocol = _protocol(index, truth, n_images)
    if len(values) != truth.size:
        layout = "image permutation"
    else:
        layout = "expanded image rows" if protocol == "image" else "caption rows"
    written = np.bincount(truth, minlength=n_images)  # (n_images,) captions of each image
    kept = np.bincount(truth[index == truth], minlength=n_images)  # (n_images,) of those, still in place
    histogram = np.bincount(kept[written > 0])
    counts = counted(index, truth, n_images)
    return NoiseDescription(
        layout=layout,
        protocol=protocol,
        n_unchanged=truth.size - counts["n_mismatched"],
        images_without_true_caption=int(histogram[0]),
        images_without_true_caption_share=float(histogram[0] / histogram.sum()),
        images_by_true_captions=tuple(histogram.tolist()),
        is_permutation=protocol != "other",
        **counts,
    )


def describe_labels(given: Array, truth: Array, n_classes: int) -> LabelDescription:
    """Describe given labels.

    Args:
        given: (n, 1) labels shared by image and text, or (n, 2), the images' and the texts'.
        truth: (n,) integers from 0 to ``n_classes - 1``.
        n_classes: number of classes, at least 2.

    Example:
        >>> found = describe_labels(np.array([[0], [1], [1]]), truth=np.array([0, 0, 1]), n_classes=2)
        >>> found.n_wrong, found.transitions[0]
        ((1,), ((1, 1), (0, 1)))
    """
    n_classes = checks.classes(n_classes)
    truth = checks.labels(truth, n_classes)
    given = checks.given(given, n_classes)
    checks.rows(given, truth)
    listed = n_classes <= MOST_TRANSITIONS
    matrices = [
        np.bincount(truth * n_classes + column, minlength=n_classes**2).reshape(n_classes, n_classes)
        for column in given.T
        if listed
    ]
    rows = np.bincount(truth, minlength=n_classes).tolist()
    right = [np.bincount(truth[column == truth], minlength=n_classes).tolist() for column in given.T]
    two = given.shape[1] == 2
    return LabelDescription(
        transitions=tuple(tuple(map(tuple, matrix.tolist())) for matrix in matrices),
        wrong_by_class=tuple(
            tuple(1 - kept / n if n else None for kept, n in zip(column, rows, strict=True))
            for column in right
        ),
        agreement=float((given[:, 0] == given[:, 1]).mean()) if two else None,
        both_wrong=float((given != truth[:, None]).all(axis=1).mean()) if two else None,
        **counted_labels(given, truth, n_classes),
    )


def _protocol(index: IntArray, truth: IntArray, n_images: int) -> str:
    """Return the rule that an index of caption rows follows."""
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
