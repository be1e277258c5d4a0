"""Wrong class labels: image-text pairs, some labelled with another class than their own.

Every kind chooses exactly ``int(ratio * n)`` of the n rows in each column of labels; the product is truncated
in floating point.

- ``symmetric``: a chosen row gets one of the other K - 1 classes, uniformly, so every chosen label is wrong.
  With ``redraw_true`` it gets one of all K classes, the true one included, as in part of the literature; the
  share of wrong labels is then about ``ratio * (1 - 1 / K)``.
- ``asymmetric``: a chosen row of class c gets class ``class_map[c]``, by default the next one,
  ``(c + 1) mod K``. Chosen rows of a class that maps to itself stay right.
- ``instance``: a chosen row gets the wrong class whose mean is nearest to its features, and rows nearly as
  close to that mean as to their own are chosen more often (equations in ``noise_injection.label_ambiguity``).
  The wrong labels are the plausible ones, as an annotator's would be. The rule is ours: the ranking of Chen
  et al. (2021, "Beyond Class-Conditional Assumption") with distances to class means in place of a trained
  network's probabilities, and rows drawn by odds instead of a hard cut.

Labels are ``shared`` by the image and text of a pair, or drawn for each modality, one after the other from
the same generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noise_injection import checks
from noise_injection.checks import LABEL_KINDS, Array, Features, IntArray, NoiseError
from noise_injection.label_ambiguity import choose_ambiguous, find_rivals
from noise_injection.mismatch import choose
from noise_injection.records import LabelNoiseRecord, counted_labels, features_sha256


def make_label_noise(
    truth: Array,
    n_classes: int,
    ratio: float,
    kind: str,
    seed: int,
    *,
    per_modality: bool = False,
    redraw_true: bool = False,
    class_map: Sequence[int] | Array | None = None,
    features: Features | None = None,
    data_fingerprint: str | None = None,
) -> tuple[IntArray, LabelNoiseRecord]:
    """Give a random part of the rows a wrong class label.

    Args:
        truth: (n,) integers from 0 to ``n_classes - 1``, the class of each pair.
        n_classes: number of classes K, at least 2; some may have no rows.
        ratio: share of the rows to choose in each column, in [0, 1).
        kind: one of ``LABEL_KINDS``.
        seed: seed of the generator, from 0 to 2**32 - 1.
        per_modality: draw the images' and the texts' labels independently.
        redraw_true: for ``symmetric``, let a chosen row draw its true class again.
        class_map: for ``asymmetric``, (K,) the class that replaces each class; None for the next class.
        features: for ``instance``, (n, F) finite numbers or, with ``per_modality``, a tuple of the images'
            and the texts'.
        data_fingerprint: name of the data set to keep in the record.

    Returns:
        The given labels, (n, 1) int64 or, with ``per_modality``, (n, 2), the images' first; and the record.
        Ratio 0 returns the truth.

    Raises:
        NoiseError: an argument has no effect on this kind of noise.

    Example:
        >>> given, record = make_label_noise(np.arange(20) % 4, 4, 0.4, "symmetric", seed=0)
        >>> given.shape, record.n_wrong, record.ratio_realised
        ((20, 1), (8,), 0.4)
    """
    kind = checks.choice(kind, LABEL_KINDS, "label noise")
    n_classes, ratio, seed = checks.classes(n_classes), checks.ratio(ratio), checks.seed(seed)
    truth = checks.labels(truth, n_classes)
    for name, is_given, owner in (
        ("redraw_true", bool(redraw_true), "symmetric"),
        ("class_map", class_map is not None, "asymmetric"),
        ("features", features is not None, "instance"),
    ):
        if is_given and kind != owner:
            raise NoiseError(f"{kind} label noise does not use {name}; leave it out, or choose {owner}")
    generator = np.random.RandomState(seed)
    n_columns = 2 if per_modality else 1
    targets: IntArray | None = None
    parts: list[Array] = []
    if kind == "asymmetric":
        following = (np.arange(n_classes) + 1) % n_classes
        targets = following if class_map is None else checks.class_map(class_map, n_classes)
    elif kind == "instance":
        if features is None:
            raise NoiseError("instance label noise needs features; give one row of numbers per label")
        parts = checks.features(features, truth.size, n_columns)
    given = np.repeat(truth[:, None], n_columns, axis=1)  # (n, 1) or (n, 2)
    n_chosen = int(ratio * truth.size)
    for column in range(n_columns):
        if parts:
            rivals, ambiguity = find_rivals(parts[column], truth, n_classes)
            rows = choose_ambiguous(ambiguity, n_chosen, generator)
            given[rows, column] = rivals[rows]
            continue
        rows = choose(truth.size, ratio, generator)
        own = truth[rows]
        drawn = _redraw(own, n_classes, redraw_true, generator) if targets is None else targets[own]
        given[rows, column] = drawn
    return given, LabelNoiseRecord(
        noise=kind,
        ratio_asked=ratio,
        seed=seed,
        redraw_true=bool(redraw_true),
        class_map=None if targets is None else tuple(targets.tolist()),
        data_fingerprint=data_fingerprint,
        features_sha256=features_sha256(parts) if parts else None,
        n_chosen=n_chosen,
        **counted_labels(given, truth, n_classes),
    )


def _redraw(own: IntArray, n_classes: int, redraw_true: bool, generator: np.random.RandomState) -> IntArray:
    """Draw a class for each row, uniformly from all classes or from all but its own."""
    # the stream depends on the dtype, whose default differs between systems
    if redraw_true:
        return generator.randint(0, n_classes, size=own.size, dtype=np.int64)
    drawn = generator.randint(0, n_classes - 1, size=own.size, dtype=np.int64)
    return drawn + (drawn >= own)  # skips the row's own class
