"""How vectors belong to pairs: by a key that both share, or by their position."""

from __future__ import annotations

from pathlib import Path

from robustcmr.errors import DataError
from robustcmr.sources.clip_layout import Side
from robustcmr.sources.counts import Counts, sample_pairs
from robustcmr.sources.given_vectors import Vectors
from robustcmr.sources.records import Source
from robustcmr.sources.vector_keys import Key, Labels, choose
from robustcmr.sources.vector_rows import Rows

_KEYS: dict[Side, tuple[Key, ...]] = {"image": ("id", "image"), "text": ("id", "caption")}
"""Keys that name one picture, or one caption; a caption may stand beside many pictures."""

_ENOUGH = 0.5
"""Share of the sampled pairs whose key must be known, for it to be taken rather than a count that fits."""


def join(
    name: str,
    side: Side,
    source: Source,
    rows: Rows,
    labels: Labels | None,
    says: tuple[str, ...],
    by_id: bool = False,
) -> Vectors:
    """Choose how vectors belong to the pairs: by a key that both share, else by exact counts.

    A key that fewer than half of the sampled pairs share is taken only where no count fits.

    Args:
        name: of the vectors, for messages.
        side: ``image`` or ``text``.
        source: the pairs.
        rows: the vectors.
        labels: what each vector is of, where that is known.
        says: sentences about the vectors.
        by_id: whether the labels are known to hold ids, of however few pairs.

    Raises:
        DataError: neither a key nor a count fits.
    """
    made = f"{side} vectors: {rows.count:,} of {rows.width} numbers"
    keyed: Vectors | None = None
    if labels is not None:
        match = choose(labels, sample_pairs(source), ("id",) if by_id else _KEYS[side])
        if match is not None and (match.found or by_id):
            said = (
                f"{made}, joined by {match.key} with the column {match.column} of {labels.name}; "
                f"{match.found:,} of {match.of:,} sampled ones were found there"
            )
            by = match.key
            keyed = Vectors(name, side, rows.count, rows.width, by, (said, *says), rows, (), labels, match)
            if by_id or match.found >= _ENOUGH * match.of:
                return keyed
    counts = Counts(source)
    total = sum(counts.rows)
    if rows.count == total:
        said = f"{made}, one a row of the source, in the same order"
        return Vectors(name, side, rows.count, rows.width, "row", (said, *says), rows, counts.starts)
    pairs, images = counts.pairs_and_images
    if rows.count == pairs:
        said = f"{made}, one a pair, in the same order"
        return Vectors(name, side, rows.count, rows.width, "position", (said, *says), rows)
    if side == "image" and rows.count == images:
        said = f"{made}, one a distinct image, in order of first appearance"
        return Vectors(name, side, rows.count, rows.width, "image position", (said, *says), rows)
    if keyed is not None:  # of few pairs, and nothing else fits
        return keyed
    distinct = f" of {images:,} distinct images" if side == "image" else ""
    keys = "have no keys" if labels is None else "share no key with the pairs"
    raise DataError(
        f"the {side} vectors {name} {keys}, and there are {rows.count:,} of them for {pairs:,} "
        f"pairs{distinct}; give one a pair in the same order, or write their ids beside them, one a line, in "
        f"{Path(name).stem}.txt"
    )
