"""How well corrected class labels, and the suspicion of given ones, agree with the true classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustcmr.evaluation.diagnosis import DivisionDiagnosis, diagnose_division
from robustcmr.types import Division, IntArray

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelDiagnosis:
    """Given and corrected labels against the truth; all but the matrices are shares or probabilities.

    A pair has one given label, or one for its image and one for its text; where there are two, shares of
    given labels are over all of them, 2 a pair.

    Attributes:
        given_accuracy: given labels that are right.
        given_accuracy_by_modality: the same for the image's and the text's labels apart, or the one label.
        corrected_accuracy: pairs whose corrected label is right.
        changed: given labels that the corrected label of their pair differs from.
        repaired: wrong given labels whose pair's corrected label is right; None where no label is wrong.
        broken: right given labels whose pair's corrected label is wrong; None where no label is right.
        wrong_pairs: pairs with a wrong given label.
        auroc: probability that a pair with a wrong given label has more evidence against it than one without,
            ties counted half; None without evidence, or unless there are both kinds.
        average_precision: of finding those pairs by the evidence; None where ``auroc`` is.
        calibration_error: expected calibration error of the confidence as the probability that the corrected
            label is right (see :class:`robustcmr.evaluation.diagnosis.DivisionDiagnosis`); None without one.
        given_to_corrected: (K, K) int64, how many given labels of each class (row) became each (column).
        given_to_truth: (K, K) int64, how many given labels of each class (row) are truly of each (column).
        corrected_to_truth: (K, K) int64, the same for corrected labels, one a pair.
    """

    given_accuracy: float
    given_accuracy_by_modality: tuple[float, ...]
    corrected_accuracy: float
    changed: float
    repaired: float | None
    broken: float | None
    wrong_pairs: float
    auroc: float | None
    average_precision: float | None
    calibration_error: float | None
    given_to_corrected: IntArray
    given_to_truth: IntArray
    corrected_to_truth: IntArray

    def to_dict(self) -> dict[str, float]:
        """All numbers that are defined, flat, for JSON and CSV; the matrices are in :meth:`confusions`."""
        values = {
            "given_accuracy": self.given_accuracy,
            "corrected_accuracy": self.corrected_accuracy,
            "changed": self.changed,
            "repaired": self.repaired,
            "broken": self.broken,
            "wrong_pairs": self.wrong_pairs,
            "auroc": self.auroc,
            "average_precision": self.average_precision,
            "calibration_error": self.calibration_error,
        }
        if len(self.given_accuracy_by_modality) == 2:
            image, text = self.given_accuracy_by_modality
            values.update(given_accuracy_image=image, given_accuracy_text=text)
        return {key: value for key, value in values.items() if value is not None}

    def confusions(self) -> dict[str, list[list[int]]]:
        """The three confusion matrices as nested lists, for JSON."""
        names = ("given_to_corrected", "given_to_truth", "corrected_to_truth")
        return {name: getattr(self, name).tolist() for name in names}


def diagnose_labels(
    given: IntArray,
    corrected: IntArray,
    truth: IntArray,
    n_classes: int,
    evidence: Values | None = None,
    confidence: Values | None = None,
) -> LabelDiagnosis:
    """Judge given and corrected labels by the truth.

    Args:
        given: (n,) or (n, 1) int64, one given label a pair; or (n, 2), one for its image, one for its text.
        corrected: (n,) int64, what a method takes each pair's class to be.
        truth: (n,) int64, what it is.
        n_classes: K; all labels lie in 0..K-1.
        evidence: (n,) finite, what speaks against the given label or labels of each pair; None for none.
        confidence: (n,) in 0..1, how sure the method is of each corrected label; None for none.

    Returns:
        The measures.

    Raises:
        ValueError: there are no pairs, the shapes or types do not fit, or a value is out of its range.
    """
    n = len(truth)
    if n == 0:
        raise ValueError("there are no labels to diagnose; give at least one pair")
    columns = given[:, None] if given.ndim == 1 else given  # (n, M)
    if columns.shape not in ((n, 1), (n, 2)):
        raise ValueError(f"given must have one or two labels for each of {n} pairs, got shape {given.shape}")
    for name, labels in (("given", columns), ("corrected", corrected), ("truth", truth)):
        _check_labels(name, labels, n, n_classes)
    entries, repeats = columns.T.ravel(), columns.shape[1]  # (M * n,) the image's labels, then the text's
    hidden, result = np.tile(truth, repeats), np.tile(corrected, repeats)  # (M * n,)
    right_before, right_after = entries == hidden, result == hidden
    wrong_pairs = (columns != truth[:, None]).any(axis=1)  # (n,)
    detection = None if evidence is None else _held_against(np.ones(n), evidence, wrong_pairs)
    calibration = None
    if confidence is not None:
        calibration = _held_against(confidence, np.zeros(n), corrected != truth).calibration_error
    return LabelDiagnosis(
        given_accuracy=float(right_before.mean()),
        given_accuracy_by_modality=tuple((columns == truth[:, None]).mean(axis=0).tolist()),
        corrected_accuracy=float((corrected == truth).mean()),
        changed=float((entries != result).mean()),
        repaired=_share(right_after[~right_before]),
        broken=_share(~right_after[right_before]),
        wrong_pairs=float(wrong_pairs.mean()),
        auroc=None if detection is None else detection.auroc,
        average_precision=None if detection is None else detection.average_precision,
        calibration_error=calibration,
        given_to_corrected=confusion(entries, result, n_classes),
        given_to_truth=confusion(entries, hidden, n_classes),
        corrected_to_truth=confusion(corrected, truth, n_classes),
    )


def confusion(rows: IntArray, columns: IntArray, n_classes: int) -> IntArray:
    """Count how often two labels meet.

    Args:
        rows: (n,) int64 in 0..K-1.
        columns: (n,) int64 in 0..K-1.
        n_classes: K.

    Returns:
        (K, K) int64, entry (a, b) how often ``rows`` is a where ``columns`` is b.
    """
    counts = np.bincount(rows * n_classes + columns, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def _held_against(probability: Values, evidence: Values, wrong: npt.NDArray[np.bool_]) -> DivisionDiagnosis:
    """How well a probability of being right and, where it ties, evidence tell what is wrong."""
    for name, values in (("confidence", probability), ("evidence", evidence)):
        if values.shape != wrong.shape or not np.isfinite(values).all():
            raise ValueError(
                f"{name} must hold a finite number for each of {len(wrong)} pairs, got shape {values.shape}"
                f"{'' if np.isfinite(values).all() else ' with NaN or infinite ones'}"
            )
    if probability.min() < 0 or probability.max() > 1:
        raise ValueError(
            f"confidence must lie in 0..1, got {float(probability.min())}..{float(probability.max())}"
        )
    double = probability.astype(np.float64)
    belief = Division(double, 0.5, double > 0.5, evidence.astype(np.float64), False, "", None, None)
    return diagnose_division(belief, wrong)


def _share(flags: npt.NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None


def _check_labels(name: str, labels: IntArray, n: int, n_classes: int) -> None:
    if labels.shape[0] != n or (name != "given" and labels.ndim != 1) or labels.dtype != np.int64:
        raise ValueError(
            f"{name} must be int64 with a label for each of {n} pairs, got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"{name} must lie in 0..{n_classes - 1} for {n_classes} classes, got "
            f"{labels.min()}..{labels.max()}"
        )
