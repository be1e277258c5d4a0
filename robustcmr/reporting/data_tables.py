"""Tables of checked data for the terminal."""

from __future__ import annotations

from rich.table import Table

from robustcmr.data.check import DataReport, LabelledReport
from robustcmr.data.scan import FeatureReport

_COLUMNS = ("split", "images", "captions", "regions", "width", "type", "file", "range", "mean", "words")


def pairs_table(report: DataReport) -> Table:
    """Return a row of sizes and statistics for each split of images and captions."""
    table = Table(*_COLUMNS, "fingerprint")
    for split in report.splits:
        row = dict.fromkeys(_COLUMNS, "?")
        row["split"] = split.name
        if (features := split.features) is not None:
            row["images"], row["regions"], row["width"] = (f"{number:,}" for number in features.shape)
            row["type"] = features.dtype or "in memory"
            row["file"] = "-" if features.file_bytes is None else f"{features.file_bytes / 2**20:,.1f} MiB"
            if features.minimum is not None and features.maximum is not None and features.mean is not None:
                row["range"] = f"{features.minimum:.3g} … {features.maximum:.3g}"
                row["mean"] = f"{features.mean:.3g}"
        if (captions := split.captions) is not None:
            row["captions"] = f"{captions.count:,}"
            row["words"] = f"{captions.shortest}–{captions.longest}, mean {captions.mean_length:.1f}"
            if captions.known_share is not None:
                row["words"] += f", {captions.known_share:.1%} known"
        table.add_row(*row.values(), split.fingerprint or "?")
    return table


def labelled_table(report: LabelledReport) -> Table:
    """Return a row of sizes and statistics for each split of labelled vectors."""
    table = Table("split", "pairs", "image vectors", "text vectors", "fingerprint")
    for split in report.splits:
        pairs = "?" if split.pairs is None else f"{split.pairs:,}"
        table.add_row(
            split.name, pairs, _vectors(split.image), _vectors(split.text), split.fingerprint or "?"
        )
    return table


def class_table(report: LabelledReport) -> Table:
    """Return the number of pairs of each class in the splits that could be counted."""
    counted = [split for split in report.splits if split.class_counts is not None]
    table = Table("class", *(split.name for split in counted))
    for number, name in enumerate(report.class_names):
        counts = (split.class_counts or () for split in counted)
        table.add_row(name, *(f"{own[number]:,}" if number < len(own) else "?" for own in counts))
    return table


def _vectors(found: FeatureReport | None) -> str:
    """Return width, range and mean of vectors in a few words."""
    if found is None:
        return "?"
    width = f"{found.shape[2]:,} numbers"
    if found.minimum is None or found.maximum is None or found.mean is None:
        return width
    return f"{width}, {found.minimum:.3g} … {found.maximum:.3g}, mean {found.mean:.3g}"
