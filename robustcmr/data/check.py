"""The data check: read everything once and list every problem found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.data import cc152k, precomp
from robustcmr.data.base import FeatureStore, PairsData, PairsSplit
from robustcmr.data.cc152k import CC152K
from robustcmr.data.folder import FEATURES_SUFFIX, DamagedSplitError, FeatureFolder, attempt, listing
from robustcmr.data.images import PICTURES, Images
from robustcmr.data.precomp import Precomputed
from robustcmr.data.store import NpyFeatures, count_non_finite, iterate_blocks
from robustcmr.data.tokens import tokenize
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import DataError

NAMED = 10
BLOCK_BYTES = 32 * 2**20
LOW_COVERAGE = 0.8


@dataclass(frozen=True)
class FeatureReport:
    """What the features of a split look like.

    Attributes:
        shape: (n_images, R, F); rows instead of images where the captions could not be read.
        dtype: number type in the file; None where features are not kept in a file.
        file_bytes: size of the file; None likewise.
        images_scanned: images the numbers below were taken over.
        minimum: smallest finite number; None where there is none.
        maximum: largest finite number; None where there is none.
        mean: mean of all finite numbers; None where there is none.
        non_finite_images: images with a NaN or an infinity.
        non_finite_first: the first ten of them, with the number of regions concerned.
        zero_images: images of which every number is zero.
        zero_first: the first ten of them.
    """

    shape: tuple[int, int, int]
    dtype: str | None
    file_bytes: int | None
    images_scanned: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    non_finite_images: int
    non_finite_first: tuple[tuple[int, int], ...]
    zero_images: int
    zero_first: tuple[int, ...]


@dataclass(frozen=True)
class CaptionReport:
    """What the captions of a split look like.

    Attributes:
        count: number of captions.
        shortest: words of the shortest caption, without start and end marks.
        mean_length: mean number of words.
        longest: words of the longest caption.
        empty: captions without a word.
        duplicates: captions equal to an earlier one.
        known_share: share of the words that the vocabulary knows; None without a vocabulary.
    """

    count: int
    shortest: int
    mean_length: float
    longest: int
    empty: int
    duplicates: int
    known_share: float | None


@dataclass(frozen=True)
class SplitReport:
    """What was found in one split; None where a part could not be read."""

    name: str
    features: FeatureReport | None
    captions: CaptionReport | None
    fingerprint: str | None


@dataclass(frozen=True)
class DataReport:
    """Everything found in a data set.

    Attributes:
        splits: one report a split.
        problems: what makes the data unusable or wrong, every case found.
        warnings: what is unusual, such as other sizes than published.
        vocabulary_words: words of the vocabulary; None where none was given or it could not be read.
    """

    splits: tuple[SplitReport, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    vocabulary_words: int | None

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON, with ``ok``."""
        return {"ok": self.ok, **asdict(self)}


def check_data(
    data: PairsData,
    expected: Mapping[str, int | Sequence[int]] | None = None,
    vocabulary: Path | None = None,
    sample_images: int | None = None,
) -> DataReport:
    """Read all splits of a data set and report what is there and what is wrong.

    Args:
        data: any data set of pairs.
        expected: images each split should have, one number or several accepted ones; None takes the sizes the
            data set was published with, where it knows them.
        vocabulary: a vocabulary file to check along with the data.
        sample_images: look at the features of so many evenly spaced images a split; None looks at all.

    Returns:
        The report; damaged data never raises.
    """
    if sample_images is not None and sample_images < 1:
        raise ValueError(f"sample_images must be at least 1, got {sample_images}")
    problems: list[str] = []
    warnings: list[str] = []
    words = None
    if vocabulary is not None:
        words = attempt(problems, lambda: Vocabulary.load(vocabulary))
    names = data.splits()
    if isinstance(data, FeatureFolder):
        problems.extend(data.folder_problems())
    if "train" not in names:
        problems.append(
            f"there is no train split; the data set has {', '.join(names) or 'no complete split'}"
        )
    reports = tuple(_check_split(data, name, words, sample_images, problems, warnings) for name in names)
    if expected is None:
        expected = data.published_images if isinstance(data, FeatureFolder) else {}
    warnings.extend(_unusual_sizes(reports, expected))
    return DataReport(reports, tuple(problems), tuple(warnings), None if words is None else len(words))


def check_folder(
    root: Path,
    captions_per_image: int = 5,
    vocabulary: Path | None = None,
    sample_images: int | None = None,
) -> DataReport:
    """Find out from the file names which layout a folder has, and check it.

    Args:
        root: a folder of precomputed features and captions.
        captions_per_image: captions of each image, at least 1; CC152K always has one.
        vocabulary: a vocabulary file to check along with the data.
        sample_images: as for ``check_data``.

    Raises:
        DataError: there is no such folder, or its files are of no known layout or of two.
    """
    return check_data(open_folder(root, captions_per_image), None, vocabulary, sample_images)


def open_folder(root: Path, captions_per_image: int = 5) -> Precomputed | CC152K | Images:
    """Open a folder as the layout its file names tell.

    Raises:
        DataError: there is no such folder, or its files are of no known layout or of two.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; name one with precomputed features and captions")
    suffixes = [
        suffix
        for suffix in (precomp.CAPTIONS_SUFFIX, cc152k.CAPTIONS_SUFFIX)
        if any(not path.name.startswith(".") for path in root.glob(f"*{suffix}"))
    ]
    if len(suffixes) == 2:
        raise DataError(
            f"{root} has captions of two layouts, *{suffixes[0]} and *{suffixes[1]}; keep one of them"
        )
    only_pictures = (root / PICTURES).is_dir() and not any(root.glob(f"*{FEATURES_SUFFIX}"))
    if suffixes == [cc152k.CAPTIONS_SUFFIX] and only_pictures:
        return Images(Images.Config(root=root))
    if suffixes == [cc152k.CAPTIONS_SUFFIX]:
        return CC152K(CC152K.Config(root=root))
    if suffixes or any(root.glob(f"*{FEATURES_SUFFIX}")):
        return Precomputed(Precomputed.Config(root=root, captions_per_image=captions_per_image))
    raise DataError(
        f"{root} is of no known layout, it has {listing(root)}; expected {{split}}{FEATURES_SUFFIX} "
        f"with {{split}}{precomp.CAPTIONS_SUFFIX} or {{split}}{cc152k.CAPTIONS_SUFFIX}"
    )


def _check_split(
    data: PairsData,
    name: str,
    vocabulary: Vocabulary | None,
    sample: int | None,
    problems: list[str],
    warnings: list[str],
) -> SplitReport:
    try:
        split = data.split(name)
    except DataError as error:
        found = error.problems if isinstance(error, DamagedSplitError) else (str(error),)
        problems.extend(f"{name}: {problem}" for problem in found)
        return SplitReport(name, _features_alone(data, name, sample, problems), None, None)
    features = None if split.features is None else scan_features(split.features, sample)
    captions = scan_captions(split.captions, vocabulary)
    if features is not None:
        problems.extend(f"{name}: {problem}" for problem in _feature_problems(features))
    if split.text_vectors is not None:
        vectors = scan_features(split.text_vectors, sample)
        problems.extend(f"{name}: {problem}" for problem in _feature_problems(vectors, "caption vectors"))
    problems.extend(f"{name}: {problem}" for problem in _pairing_problems(split))
    if captions.empty:
        problems.append(f"{name}: {captions.empty} of {captions.count} captions hold no word")
    if captions.known_share is not None and captions.known_share < LOW_COVERAGE:
        warnings.append(
            f"{name}: the vocabulary knows only {captions.known_share:.1%} of the words; "
            "give the one that was made for this data"
        )
    return SplitReport(name, features, captions, data.fingerprint(name))


def _features_alone(
    data: PairsData, name: str, sample: int | None, problems: list[str]
) -> FeatureReport | None:
    """Look at the features of a split that does not open, so that no second problem stays hidden."""
    if not isinstance(data, FeatureFolder):
        return None
    try:
        report = scan_features(NpyFeatures(data.features_path(name)), sample)
    except DataError:  # this is what kept the split from opening: already reported
        return None
    problems.extend(f"{name}: {problem}" for problem in _feature_problems(report, "rows"))
    return report


def _feature_problems(report: FeatureReport, unit: str = "images") -> Iterator[str]:
    if report.non_finite_images:
        where = ", ".join(
            f"{image} ({regions} of {report.shape[1]} regions)" for image, regions in report.non_finite_first
        )
        yield (
            f"{report.non_finite_images} of {report.images_scanned} {unit} hold NaN or infinity: "
            f"{where}{', ...' if report.non_finite_images > NAMED else ''}"
        )
    if report.zero_images:
        where = ", ".join(str(image) for image in report.zero_first)
        yield (
            f"{report.zero_images} of {report.images_scanned} {unit} are zero throughout: "
            f"{where}{', ...' if report.zero_images > NAMED else ''}"
        )


def _pairing_problems(split: PairsSplit) -> Iterator[str]:
    """What does not fit between captions, images and names; readers of other people may not check it."""
    pairing, n_captions = split.image_of_caption, len(split.captions)
    if n_captions == 0:
        yield "there is no caption"
    if len(pairing) != n_captions:
        yield f"{n_captions} captions but {len(pairing)} entries that say which image each belongs to"
    elif n_captions and (pairing.min() < 0 or pairing.max() >= split.n_images):
        given = f"{pairing.min()}..{pairing.max()}"
        yield f"captions belong to images {given}, but there are {split.n_images} images"
    elif n_captions:
        bare = split.n_images - len(np.unique(pairing))
        if bare:
            yield f"{bare} of {split.n_images} images have no caption"
    if split.image_names is not None and len(split.image_names) != split.n_images:
        yield f"{len(split.image_names)} image names for {split.n_images} images"


def _unusual_sizes(
    reports: Sequence[SplitReport], expected: Mapping[str, int | Sequence[int]]
) -> Iterator[str]:
    for report in reports:
        if report.name not in expected or report.features is None or report.captions is None:
            continue
        sizes = expected[report.name]
        accepted = (sizes,) if isinstance(sizes, int) else tuple(sizes)
        n_images = report.features.shape[0]
        if n_images not in accepted:
            usual = " or ".join(str(size) for size in accepted)
            yield f"{report.name}: {n_images} images; the published split has {usual}"


def scan_features(store: FeatureStore, sample_images: int | None = None) -> FeatureReport:
    """Read features in blocks of bounded memory and describe them.

    Args:
        store: any feature store.
        sample_images: look at so many evenly spaced images; None looks at all.
    """
    shape = store.shape
    scanned, n_finite, total = 0, 0, 0.0
    low, high = math.inf, -math.inf
    damaged: list[tuple[int, int]] = []
    zero: list[int] = []
    for images, block in _blocks(store, sample_images):
        scanned += len(images)
        zero.extend(int(image) for image in images[~block.any(axis=(1, 2))])
        values: npt.NDArray[np.floating[Any]] = block
        if not (math.isfinite(float(block.min())) and math.isfinite(float(block.max()))):
            regions = count_non_finite(block)  # (k,)
            bad = np.flatnonzero(regions)
            damaged.extend(zip(images[bad].tolist(), regions[bad].tolist(), strict=True))
            values = block[np.isfinite(block)]  # (n,)
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            total += float(values.sum(dtype=np.float64))
            n_finite += values.size
    return FeatureReport(
        shape=shape,
        dtype=str(store.dtype) if isinstance(store, NpyFeatures) else None,
        file_bytes=store.path.stat().st_size if isinstance(store, NpyFeatures) else None,
        images_scanned=scanned,
        minimum=low if n_finite else None,
        maximum=high if n_finite else None,
        mean=total / n_finite if n_finite else None,
        non_finite_images=len(damaged),
        non_finite_first=tuple(damaged[:NAMED]),
        zero_images=len(zero),
        zero_first=tuple(zero[:NAMED]),
    )


def _blocks(
    store: FeatureStore, sample_images: int | None
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating[Any]]]]:
    """Image indices (k,) and their features (k, R, F), all of them or evenly spaced ones."""
    n_images, n_regions, width = store.shape
    chunk = max(1, BLOCK_BYTES // (4 * n_regions * width))
    if sample_images is None or sample_images >= n_images:
        for first, block in iterate_blocks(store, chunk):
            yield np.arange(first, first + len(block), dtype=np.int64), block
        return
    chosen = np.unique(np.linspace(0, n_images - 1, sample_images).round().astype(np.int64))
    for first in range(0, len(chosen), chunk):
        part = chosen[first : first + chunk]
        yield part, store.take(part)


def scan_captions(captions: Sequence[str], vocabulary: Vocabulary | None = None) -> CaptionReport:
    """Tokenise captions and describe them.

    Args:
        captions: raw text.
        vocabulary: tells which words are known; None leaves the share out.
    """
    lengths = np.zeros(len(captions), dtype=np.int64)
    known = 0
    for row, caption in enumerate(captions):
        words = tokenize(caption)
        lengths[row] = len(words)
        if vocabulary is not None:
            known += sum(word in vocabulary for word in words)
    total = int(lengths.sum())
    return CaptionReport(
        count=len(captions),
        shortest=int(lengths.min()) if lengths.size else 0,
        mean_length=total / len(captions) if lengths.size else 0.0,
        longest=int(lengths.max(initial=0)),
        empty=int((lengths == 0).sum()),
        duplicates=len(captions) - len(set(captions)),
        known_share=None if vocabulary is None else (known / total if total else 1.0),
    )
