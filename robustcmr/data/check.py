"""The data check: read everything once and list every problem found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustcmr.data import cc152k, precomp
from robustcmr.data.array_files import SUFFIXES
from robustcmr.data.base import LabelledData, LabelledSplit, PairsData, PairsSplit
from robustcmr.data.captions import low_coverage
from robustcmr.data.cc152k import CC152K
from robustcmr.data.folder import (
    CAPTION_FILES,
    FEATURES_SUFFIX,
    DamagedSplitError,
    FeatureFolder,
    attempt,
    listing,
    other_captions,
)
from robustcmr.data.images import PICTURES, Images
from robustcmr.data.labelled import Labelled
from robustcmr.data.precomp import Precomputed
from robustcmr.data.scan import CaptionReport, FeatureReport, named, scan_captions, scan_features
from robustcmr.data.store import NpyFeatures
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import DataError


@dataclass(frozen=True)
class SplitReport:
    """Findings in one split of pairs; None for a part that could not be read.

    ``pairing`` says what decides which image a caption belongs to; None if the data set does not say.
    """

    name: str
    features: FeatureReport | None
    captions: CaptionReport | None
    fingerprint: str | None
    pairing: str | None = None


@dataclass(frozen=True)
class LabelledSplitReport:
    """Findings in one labelled split; None if it does not open. Counts are in the order of the classes."""

    name: str
    pairs: int | None
    image: FeatureReport | None
    text: FeatureReport | None
    class_counts: tuple[int, ...] | None
    fingerprint: str | None


@dataclass(frozen=True)
class Findings:
    """Problems, which make data unusable or wrong, and warnings of unusual things; every case found."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with ``ok``."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True)
class DataReport(Findings):
    """Findings in a data set of pairs, and the size of the given vocabulary; None without a readable one."""

    splits: tuple[SplitReport, ...]
    vocabulary_words: int | None


@dataclass(frozen=True)
class LabelledReport(Findings):
    """Findings in a labelled data set, and its classes by the first split that opens."""

    splits: tuple[LabelledSplitReport, ...]
    class_names: tuple[str, ...]


def open_folder(root: Path) -> Precomputed | CC152K | Images:
    """Open a folder as the layout that its file names suggest.

    Raises:
        DataError: there is no such folder, or its files are of no known layout or of two.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; name one with precomputed features and captions")
    text, table = (
        any(not path.name.startswith(".") for path in root.glob(f"*{suffix}"))
        for suffix in (precomp.CAPTIONS_SUFFIX, cc152k.CAPTIONS_SUFFIX)
    )
    if text and table:
        raise DataError(
            f"{root} has captions of two layouts, *{precomp.CAPTIONS_SUFFIX} and *{cc152k.CAPTIONS_SUFFIX}; "
            "keep one of them"
        )
    features = any(root.glob(f"*{FEATURES_SUFFIX}"))
    if table and not features and (root / PICTURES).is_dir():
        return Images(Images.Config(root=root))
    if table:
        return CC152K(CC152K.Config(root=root))
    if text or features:
        return Precomputed(Precomputed.Config(root=root))
    raise DataError(
        f"{root} is of no known layout, it has {listing(root)}; expected {{split}}{FEATURES_SUFFIX} "
        f"with {' or '.join(f'{{split}}{end} ({what})' for end, what in CAPTION_FILES.items())}"
        f"{other_captions(root)}"
    )


def is_labelled(root: Path) -> bool:
    """Return whether a path is a file of labelled vectors, or a folder with one called ``train``."""
    if root.is_dir():
        return any(path.stem == "train" and path.suffix.lower() in SUFFIXES for path in root.iterdir())
    return root.is_file() and root.suffix.lower() in SUFFIXES


def check_data(data: PairsData, vocabulary: Path | None = None) -> DataReport:
    """Read all splits of a data set of pairs and report everything found; damaged data never raises.

    A vocabulary file is checked along with the data. Without one, the other splits are read with the words of
    the training captions, as in training.
    """
    problems, warnings = list[str](), list[str]()
    given = None if vocabulary is None else attempt(problems, lambda: Vocabulary.load(vocabulary))
    words = _words_of_training(data) if vocabulary is None else given
    names = data.splits()
    published: Mapping[str, tuple[int, ...]] = {}
    if isinstance(data, FeatureFolder):
        published = data.published_images
        problems.extend(data.folder_problems())
    if "train" not in names:
        problems.append(
            f"there is no train split; the data set has {', '.join(names) or 'no complete split'}"
        )
    reports = []
    for name in names:
        found, unusual = list[str](), list[str]()
        read_with = None if name == "train" and vocabulary is None else words  # it knows its own words
        reports.append(_check_split(data, name, read_with, found, unusual))
        problems.extend(f"{name}: {problem}" for problem in found)
        warnings.extend(f"{name}: {warning}" for warning in unusual)
    for report in reports:
        sizes = published.get(report.name, ())
        if sizes and report.features and report.captions and report.features.shape[0] not in sizes:
            usual = " or ".join(map(str, sizes))
            warnings.append(
                f"{report.name}: {report.features.shape[0]} images; the published split has {usual}"
            )
    size = None if given is None else len(given)
    return DataReport(tuple(problems), tuple(warnings), tuple(reports), size)


def _words_of_training(data: PairsData) -> Vocabulary | None:
    """Return the vocabulary that training would build; None if the training captions cannot be read."""
    if "train" not in data.splits():
        return None
    split = attempt([], lambda: data.split("train"))
    return None if split is None else Vocabulary.build(split.captions)


def _check_split(
    data: PairsData, name: str, vocabulary: Vocabulary | None, problems: list[str], warnings: list[str]
) -> SplitReport:
    try:
        split = data.split(name)
    except DataError as error:
        problems.extend(error.problems if isinstance(error, DamagedSplitError) else (str(error),))
        return SplitReport(name, _scan_without_split(data, name, problems), None, None)
    features = None if split.features is None else scan_features(split.features)
    captions = scan_captions(split.captions, vocabulary)
    if features is not None:
        problems.extend(_feature_problems(features, "images"))
    if split.text_vectors is not None:
        problems.extend(_feature_problems(scan_features(split.text_vectors), "caption vectors"))
    problems.extend(_pairing_problems(split))
    if captions.empty:
        problems.append(f"{captions.empty} of {captions.count} captions contain no word")
    if doubt := low_coverage(captions.known_share, "--vocabulary FILE"):
        warnings.append(doubt)
    pairing = data.pairing(name) if isinstance(data, FeatureFolder) else None
    return SplitReport(name, features, captions, data.fingerprint(name), pairing)


def _scan_without_split(data: PairsData, name: str, problems: list[str]) -> FeatureReport | None:
    """Scan the features of a split that does not open, so that all problems are found at once."""
    if not isinstance(data, FeatureFolder):
        return None
    try:
        report = scan_features(NpyFeatures(data.features_path(name)))
    except DataError:  # kept the split from opening, so it is reported already
        return None
    problems.extend(_feature_problems(report, "rows"))
    return report


def _feature_problems(report: FeatureReport, unit: str) -> Iterator[str]:
    yield from _non_finite(report, unit)
    yield from _zeros(report, unit)


def _non_finite(report: FeatureReport, unit: str) -> Iterator[str]:
    if report.non_finite_images:
        regions = report.shape[1]
        first = [f"{i} ({n} of {regions} regions)" if regions > 1 else i for i, n in report.non_finite_first]
        yield (
            f"{report.non_finite_images} of {report.images_scanned} {unit} hold NaN or infinity: "
            f"{named(first, report.non_finite_images)}"
        )


def _zeros(report: FeatureReport, unit: str) -> Iterator[str]:
    if report.zero_images:
        first = named(report.zero_first, report.zero_images)
        yield f"{report.zero_images} of {report.images_scanned} {unit} are zero throughout: {first}"


def _pairing_problems(split: PairsSplit) -> Iterator[str]:
    """Yield inconsistencies of captions, images and names, which third-party readers may not check."""
    pairing, n_captions = split.image_of_caption, len(split.captions)
    if n_captions == 0:
        yield "there is no caption"
    if len(pairing) != n_captions:
        yield f"{n_captions} captions but {len(pairing)} entries of image_of_caption"
    elif n_captions and (pairing.min() < 0 or pairing.max() >= split.n_images):
        given = f"{pairing.min()}..{pairing.max()}"
        yield f"captions belong to images {given}, but there are {split.n_images} images"
    elif n_captions and (bare := split.n_images - len(np.unique(pairing))):
        yield f"{bare} of {split.n_images} images have no caption"
    if split.image_names is not None and len(split.image_names) != split.n_images:
        yield f"{len(split.image_names)} image names for {split.n_images} images"


def check_labelled(data: LabelledData) -> LabelledReport:
    """Read all splits of a labelled data set and report everything found; damaged data never raises."""
    names = data.splits()
    problems, warnings = list[str](), list[str]()
    if "train" not in names:
        problems.append(f"there is no train split; the data set has {', '.join(names) or 'no split'}")
    opened: list[LabelledSplit] = []
    reports: list[LabelledSplitReport] = []
    reported: set[str] = set()
    for name in names:
        try:
            split = data.split(name)
        except DataError as error:
            if str(error) not in reported:  # a damaged training split keeps every other from opening
                problems.append(f"{name}: {error}")
            reported.add(str(error))
            reports.append(LabelledSplitReport(name, None, None, None, None, None))
            continue
        images, texts = scan_features(split.images), scan_features(split.texts)
        counts = tuple(np.bincount(split.labels, minlength=len(split.class_names)).tolist())
        reports.append(LabelledSplitReport(name, len(split), images, texts, counts, data.fingerprint(name)))
        if not len(split):
            problems.append(f"{name}: there is no pair")
        for what, found in (("image vectors", images), ("text vectors", texts)):
            problems.extend(f"{name}: {problem}" for problem in _non_finite(found, what))
            warnings.extend(f"{name}: {warning}" for warning in _zeros(found, what))
        empty = [cls for cls, count in zip(split.class_names, counts, strict=True) if not count]
        if empty:
            warnings.append(f"{name}: {len(empty)} of {len(counts)} classes have no pair: {named(empty)}")
        opened.append(split)
        problems.extend(f"{name}: {problem}" for problem in _differences(split, opened[0]))
    if isinstance(data, Labelled) and len(opened) == len(names):
        warnings.extend(data.unusual())
    class_names = opened[0].class_names if opened else ()
    return LabelledReport(tuple(problems), tuple(warnings), tuple(reports), class_names)


def _differences(split: LabelledSplit, first: LabelledSplit) -> Iterator[str]:
    """Yield differences from the first split, which third-party readers may not check."""
    for what, own, usual in (
        ("image", split.images.shape[2], first.images.shape[2]),
        ("text", split.texts.shape[2], first.texts.shape[2]),
    ):
        if own != usual:
            yield f"{what} vectors of {own} numbers, those of {first.name} have {usual}"
    if split.class_names != first.class_names:
        yield f"its classes are not those of {first.name}, in the same order"
