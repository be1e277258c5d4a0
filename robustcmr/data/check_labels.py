"""The check of labelled data: read every vector once, count the classes, and list every problem found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustcmr.data.base import LabelledData, LabelledSplit
from robustcmr.data.check import NAMED, FeatureReport, scan_features
from robustcmr.data.labelled import Labelled
from robustcmr.data.labelled_files import SUFFIXES
from robustcmr.errors import DataError


@dataclass(frozen=True)
class LabelledSplitReport:
    """What was found in one split; None where it does not open.

    Attributes:
        name: of the split.
        pairs: how many.
        image: the image vectors.
        text: the text vectors.
        class_counts: pairs of each class, in the order of the report's class names.
        fingerprint: of the split's content.
    """

    name: str
    pairs: int | None
    image: FeatureReport | None
    text: FeatureReport | None
    class_counts: tuple[int, ...] | None
    fingerprint: str | None


@dataclass(frozen=True)
class LabelledReport:
    """Everything found in a labelled data set.

    Attributes:
        splits: one report a split.
        class_names: as the first split that opens has them.
        problems: what makes the data unusable or wrong, every case found.
        warnings: what is unusual, such as other sizes than published.
    """

    splits: tuple[LabelledSplitReport, ...]
    class_names: tuple[str, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON, with ``ok``."""
        return {"ok": self.ok, **asdict(self)}


def is_labelled(root: Path) -> bool:
    """Whether a path looks like labelled features: such a file, or a folder with one called ``train``."""
    if root.is_dir():
        return any(path.stem == "train" and path.suffix.lower() in SUFFIXES for path in root.iterdir())
    return root.is_file() and root.suffix.lower() in SUFFIXES


def check_labelled(data: LabelledData) -> LabelledReport:
    """Read all splits of a labelled data set and report what is there and what is wrong.

    Args:
        data: any data set of the labels track.

    Returns:
        The report; damaged data never raises.
    """
    problems: list[str] = []
    warnings: list[str] = []
    told: set[str] = set()
    opened: list[LabelledSplit] = []
    reports: list[LabelledSplitReport] = []
    names = data.splits()
    if "train" not in names:
        problems.append(f"there is no train split; the data set has {', '.join(names) or 'no split'}")
    for name in names:
        try:
            split = data.split(name)
        except DataError as error:
            if str(error) not in told:  # a damaged training split keeps every other from opening
                problems.append(f"{name}: {error}")
            told.add(str(error))
            reports.append(LabelledSplitReport(name, None, None, None, None, None))
            continue
        opened.append(split)
        reports.append(_scan(split, data.fingerprint(name)))
        problems.extend(f"{name}: {problem}" for problem in _damage(reports[-1]))
        warnings.extend(f"{name}: {warning}" for warning in _oddities(split, reports[-1]))
    problems.extend(_disagreements(opened))
    if isinstance(data, Labelled) and len(opened) == len(names):
        warnings.extend(data.unusual())
    class_names = opened[0].class_names if opened else ()
    return LabelledReport(tuple(reports), class_names, tuple(problems), tuple(warnings))


def _scan(split: LabelledSplit, fingerprint: str) -> LabelledSplitReport:
    counts = np.bincount(split.labels, minlength=len(split.class_names))  # (K,)
    return LabelledSplitReport(
        split.name,
        len(split),
        scan_features(split.images),
        scan_features(split.texts),
        tuple(counts.tolist()),
        fingerprint,
    )


def _sides(report: LabelledSplitReport) -> Iterator[tuple[str, FeatureReport]]:
    for what, found in (("image", report.image), ("text", report.text)):
        if found is not None:
            yield what, found


def _damage(report: LabelledSplitReport) -> Iterator[str]:
    if not report.pairs:
        yield "there is no pair"
    for what, found in _sides(report):
        if found.non_finite_images:
            rows = [row for row, _ in found.non_finite_first]
            yield (
                f"{found.non_finite_images} of {found.images_scanned} {what} vectors hold NaN or infinity: "
                f"{_first(rows, found.non_finite_images)}"
            )


def _oddities(split: LabelledSplit, report: LabelledSplitReport) -> Iterator[str]:
    for what, found in _sides(report):
        if found.zero_images:
            yield (
                f"{found.zero_images} of {found.images_scanned} {what} vectors are zero throughout: "
                f"{_first(found.zero_first, found.zero_images)}"
            )
    empty = [
        name for name, count in zip(split.class_names, report.class_counts or (), strict=True) if not count
    ]
    if empty:
        yield f"{len(empty)} of {len(split.class_names)} classes have no pair: {_first(empty, len(empty))}"


def _first(named: Sequence[object], count: int) -> str:
    return ", ".join(str(item) for item in named[:NAMED]) + (", ..." if count > NAMED else "")


def _disagreements(opened: Sequence[LabelledSplit]) -> Iterator[str]:
    """What is not as in the first split; a data set's own reader may not look at it."""
    for split in opened[1:]:
        first = opened[0]
        for what, own, usual in (
            ("image", split.images.shape[2], first.images.shape[2]),
            ("text", split.texts.shape[2], first.texts.shape[2]),
        ):
            if own != usual:
                yield f"{split.name}: {what} vectors of {own} numbers, those of {first.name} have {usual}"
        if split.class_names != first.class_names:
            yield f"{split.name}: its classes are not those of {first.name}, in the same order"
