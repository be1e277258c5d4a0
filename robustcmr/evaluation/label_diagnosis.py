"""Agreement of given and corrected class labels, and of the evidence against them, with the true classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from robustcmr.evaluation.diagnosis import calibration_error
from robustcmr.types import IntArray

Values = npt.NDArray[np.float64]
_MATRICES = ("given_to_corrected", "given_to_truth", "corrected_to_truth")


@dataclass(frozen=True)
class LabelDiagnosis:
    """Given and corrected labels compared with the truth; all but the matrices are shares or probabilities.

    A pair has one given label, or two: one for its image and one for its text. With two, shares of given
    labels are over all of them.

    Attributes:
        given_accuracy: share of right given labels.
        given_accuracy_by_modality: of the image's and the text's labels apart; or of the one label.
        corrected_accuracy: share of pairs whose corrected label is right.
        changed: share of given labels that differ from their pair's corrected label.
        repaired: share of wrong given labels whose pair's corrected label is right; None if none is wrong.
        broken: share of right given labels whose pair's corrected label is wrong; None if none is right.
        wrong_pairs: share of pairs with a wrong given label.
        auroc: area under the ROC curve of finding those pairs by the evidence; None without evidence, or
            unless there are pairs of both kinds.
        average_precision: of the same ranking; None if ``auroc`` is.
        calibration_error: expected calibration error of the confidence as the probability that the corrected
            label is right (see :class:`robustcmr.evaluation.diagnosis.DivisionDiagnosis`); None without one.
        given_to_corrected: (K, K) int64, given labels of each class (row) corrected to each (column).
        given_to_truth: (K, K) int64, given labels of each class (row) truly of each (column).
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
        """Return all defined numbers, flat, for JSON and CSV; for the matrices see :meth:`confusions`."""
        values = {name: value for name, value in asdict(self).items() if name not in _MATRICES}
        by_modality = values.pop("given_accuracy_by_modality")
        if len(by_modality) == 2:
            values["given_accuracy_image"], values["given_accuracy_text"] = by_modality
        return {name: value for name, value in values.items() if value is not None}

    def confusions(self) -> dict[str, list[list[int]]]:
        """Return the three confusion matrices as nested lists, for JSON."""
        return {name: getattr(self, name).tolist() for name in _MATRICES}


def diagnose_labels(
    given: IntArray,
    corrected: IntArray,
    truth: IntArray,
    n_classes: int,
    evidence: Values | None = None,
    confidence: Values | None = None,
) -> LabelDiagnosis:
    """Compare given and corrected labels with the truth.

    Args:
        given: (n,) or (n, 1) int64, one given label a pair; or (n, 2), one for its image, one for its text.
        corrected: (n,) int64, the method's label of each pair.
        truth: (n,) int64, the true class.
        n_classes: K; all labels lie in 0..K-1.
        evidence: (n,) finite, against the given label or labels of each pair; None for none.
        confidence: (n,) in 0..1, the method's probability of each corrected label; None for none.

    Raises:
        ValueError: there are no pairs, the shapes or types do not fit, or a value is out of range.
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
    auroc = average_precision = calibration = None
    if evidence is not None:
        _check_values("evidence", evidence, n)
        if 0 < wrong_pairs.sum() < n:
            auroc = float(roc_auc_score(wrong_pairs, evidence))
            average_precision = float(average_precision_score(wrong_pairs, evidence))
    if confidence is not None:
        _check_values("confidence", confidence, n)
        if confidence.min() < 0 or confidence.max() > 1:
            low, high = float(confidence.min()), float(confidence.max())
            raise ValueError(f"confidence must lie in 0..1, got {low}..{high}")
        calibration = calibration_error(1 - confidence.astype(np.float64), corrected != truth)
    classes = np.arange(n_classes)
    return LabelDiagnosis(
        given_accuracy=float(right_before.mean()),
        given_accuracy_by_modality=tuple((columns == truth[:, None]).mean(axis=0).tolist()),
        corrected_accuracy=float((corrected == truth).mean()),
        changed=float((entries != result).mean()),
        repaired=_share(right_after[~right_before]),
        broken=_share(~right_after[right_before]),
        wrong_pairs=float(wrong_pairs.mean()),
        auroc=auroc,
        average_precision=average_precision,
        calibration_error=calibration,
        given_to_corrected=confusion_matrix(entries, result, labels=classes),
        given_to_truth=confusion_matrix(entries, hidden, labels=classes),
        corrected_to_truth=confusion_matrix(corrected, truth, labels=classes),
    )


def _share(flags: npt.NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None


def _check_values(name: str, values: Values, n: int) -> None:
    finite = np.isfinite(values).all()
    if values.shape != (n,) or not finite:
        raise ValueError(
            f"{name} must hold a finite number for each of {n} pairs, got shape {values.shape}"
            f"{'' if finite else ' with NaN or infinite ones'}"
        )


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
