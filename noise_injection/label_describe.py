"""What given labels are beside the true ones: transitions, wrong shares by class, agreement of modalities."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.checks import IntArray
from noise_injection.errors import NoiseError
from noise_injection.label_checks import MODALITIES, check_classes, check_given, check_labels
from noise_injection.records import index_sha256

WIDEST_MATRIX = 12  # classes whose transitions still fit a terminal


@dataclass(frozen=True)
class LabelDescription:
    """Given labels held against the true ones; "modality" stands for a column of labels.

    Attributes:
        protocol: ``shared`` (one column) or ``per_modality`` (the images' and the texts').
        n: number of rows.
        n_classes: number of classes K.
        n_wrong: wrong labels by modality.
        ratio_realised: share of wrong labels among all given.
        ratio_by_modality: share of wrong labels by modality.
        transitions: by modality K lists of K counts, entry ``[c][g]`` being the rows of class c labelled g.
        wrong_by_class: by modality and class the share of rows labelled wrong; None for a class without rows.
        agreement: share of rows whose two labels are the same; None for shared labels.
        both_wrong: share of rows whose two labels are both wrong, the same or not; None for shared labels.
        labels_sha256: hash of the given labels.
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

    def to_dict(self) -> dict[str, Any]:
        """All values by name, ready for JSON."""
        listed: dict[str, Any] = _listed(dataclasses.asdict(self))
        return listed

    def to_text(self) -> str:
        """A few readable lines, without a final newline; the transitions where there are few classes."""
        rows = [
            ("protocol", self.protocol),
            ("rows", f"{self.n} of {self.n_classes} classes"),
            ("wrong", f"{sum(self.n_wrong)} labels ({self.ratio_realised:.4%})"),
        ]
        for name, count, share in zip(self.names, self.n_wrong, self.ratio_by_modality, strict=True):
            if len(self.names) > 1:
                rows.append((f"wrong {name}s", f"{count} labels ({share:.4%})"))
        if self.agreement is not None and self.both_wrong is not None:
            rows.append(("agreement", f"{self.agreement:.2%} of the rows have equal labels"))
            rows.append(("both wrong", f"{self.both_wrong:.2%} of the rows"))
        for name, shares in zip(self.names, self.wrong_by_class, strict=True):
            known = [share for share in shares if share is not None]
            head = "wrong by class" if len(self.names) == 1 else f"by class, {name}"
            rows.append((head, f"{min(known):.2%} to {max(known):.2%}"))
        rows.append(("sha256", self.labels_sha256))
        lines = [f"{name:<16} {value}" for name, value in rows]
        if self.n_classes > WIDEST_MATRIX:
            return "\n".join([*lines, f"{'transitions':<16} {self.n_classes} classes, too many to show here"])
        for name, matrix in zip(self.names, self.transitions, strict=True):
            lines += _matrix_text(name, matrix)
        return "\n".join(lines)

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns belong to: ``pair``, or ``image`` and ``text``."""
        return ("pair",) if self.protocol == "shared" else MODALITIES


def describe_labels(given: npt.NDArray[Any], truth: npt.NDArray[Any], n_classes: int) -> LabelDescription:
    """Hold given labels against the true ones.

    Args:
        given: (n, 1) labels shared by image and text, or (n, 2), the images' and the texts'.
        truth: (n,) whole numbers from 0 to ``n_classes - 1``.
        n_classes: number of classes, at least 2.

    Returns:
        The description.

    Raises:
        NoiseError: the labels are out of range, of a wrong shape, or not as many as the true ones.
    """
    n_classes = check_classes(n_classes)
    truth = check_labels(truth, n_classes)
    given = check_given(given, n_classes)
    check_rows(given, truth)
    is_wrong = given != truth[:, None]  # (n, 1) or (n, 2)
    matrices = [
        np.bincount(truth * n_classes + column, minlength=n_classes**2).reshape(n_classes, n_classes)
        for column in given.T
    ]
    two = given.shape[1] == 2
    return LabelDescription(
        protocol="per_modality" if two else "shared",
        n=truth.size,
        n_classes=n_classes,
        n_wrong=tuple(is_wrong.sum(axis=0).tolist()),
        ratio_realised=float(is_wrong.mean()),
        ratio_by_modality=tuple(is_wrong.mean(axis=0).tolist()),
        transitions=tuple(tuple(tuple(row) for row in matrix.tolist()) for matrix in matrices),
        wrong_by_class=tuple(
            tuple(_wrong_share(row, own) for own, row in enumerate(matrix)) for matrix in matrices
        ),
        agreement=float((given[:, 0] == given[:, 1]).mean()) if two else None,
        both_wrong=float(is_wrong.all(axis=1).mean()) if two else None,
        labels_sha256=index_sha256(given),
    )


def check_rows(given: IntArray, truth: IntArray, what: str = "the given labels") -> None:
    """Refuse given labels that are not as many as the true ones.

    Raises:
        NoiseError: the numbers of rows differ.
    """
    if len(given) != truth.size:
        raise NoiseError(
            f"{what} have {len(given)} rows and the data has {truth.size} labels; choose the labels made for "
            "this data"
        )


def _wrong_share(row: IntArray, own: int) -> float | None:
    total = int(row.sum())
    return None if total == 0 else 1 - int(row[own]) / total


def _matrix_text(name: str, matrix: tuple[tuple[int, ...], ...]) -> list[str]:
    width = max(5, *(len(str(count)) + 1 for row in matrix for count in row))
    head = "".join(f"{given:>{width}}" for given in range(len(matrix)))
    lines = [f"{'transitions':<16} {name}s by true class (down) and given class (across)", f"{'':<16} {head}"]
    for own, row in enumerate(matrix):
        lines.append(f"{own:>16} {''.join(f'{count:>{width}}' for count in row)}")
    return lines


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(part) for name, part in value.items()}
    return [_listed(part) for part in value] if isinstance(value, tuple) else value
