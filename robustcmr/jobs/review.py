"""Judge the pairs of an audit on a local page: draw the sample, serve the page, say how far it is."""

from __future__ import annotations

import logging
import threading
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from noise_injection.printing import visible
from robustcmr.audit.labels import (
    VERDICTS,
    Label,
    LabelFile,
    agreements,
    disagreements,
    read_labels,
    settled,
    tally,
)
from robustcmr.errors import DataError
from robustcmr.jobs.audit_source import reopened
from robustcmr.jobs.review_design import draw_sample, estimator
from robustcmr.jobs.review_suggestions import read_suggestions
from robustcmr.review.app import review_app
from robustcmr.review.items import Item, place_of
from robustcmr.review.names import reviewer_name
from robustcmr.review.pictures import Pictures
from robustcmr.review.sample import (
    Drawn,
    Request,
    Sample,
    labels_file,
    read_sample,
    sample_file,
    write_sample,
)
from robustcmr.review.serve import address, listen, new_token, server
from robustcmr.review.state import Review
from robustcmr.runs.audits import AuditFolder

LABELS = 400
"""Pairs that are judged unless another number is requested."""

logger = logging.getLogger("robustcmr")


@dataclass(frozen=True)
class Opened:
    """A review, ready to be served.

    Attributes:
        review: the sample and its labels.
        pictures: of the sample.
    """

    review: Review
    pictures: Pictures


def sampled(
    folder: AuditFolder, labels: int | None = None, per_stratum: int | None = None, seed: int | None = None
) -> Sample:
    """Return the sample of an audit, drawing it where there is none or other numbers are requested.

    Args:
        folder: of a finished audit.
        labels: pairs to judge; those of the sample that is there, or else 400, where None.
        per_stratum: pairs of each stratum at least; likewise.
        seed: of the draw; likewise.

    Raises:
        UserError: the audit is damaged, or a new sample would leave out pairs that were judged.
    """
    known = read_sample(folder.path)
    before = Request(LABELS, None, 0) if known is None else known.request
    request = Request(
        before.labels if labels is None else labels,
        before.per_stratum if per_stratum is None else per_stratum,
        before.seed if seed is None else seed,
    )
    if known is not None and request == before:
        return known
    sample = draw_sample(folder, request)
    if known is not None:
        _check_kept(folder, known, sample)
    if len(sample.pairs) != request.labels:
        logger.warning(
            "the sample has %s pairs instead of %s: each stratum gets a few, and none more than it has",
            *(f"{len(sample.pairs):,}", f"{request.labels:,}"),
        )
    write_sample(folder.path, sample)
    return sample


def _check_kept(folder: AuditFolder, before: Sample, after: Sample) -> None:
    """Refuse a new sample that leaves out judged pairs, or whose strata differ from those they came from."""
    judged = {label.id for label in settled(read_labels(labels_file(folder.path)))}
    if not judged:
        return
    strata = {pair.id: pair.stratum for pair in after.pairs}
    lost = [pair.id for pair in before.pairs if pair.id in judged and strata.get(pair.id) != pair.stratum]
    if lost:
        raise DataError(
            f"{len(lost):,} of {len(judged):,} judged pairs would not count in a sample of "
            f"{after.request.labels:,} with seed {after.request.seed}; keep --seed {before.request.seed} and "
            f"at least --labels {before.request.labels}, or move {labels_file(folder.path)} and "
            f"{sample_file(folder.path)} away to begin again"
        )


def open_review(
    audit: Path,
    labels: int | None = None,
    per_stratum: int | None = None,
    seed: int | None = None,
    by: str | None = None,
    load_urls: bool = False,
) -> Opened:
    """Open the review of an audit; see :func:`serve_review`."""
    folder = AuditFolder(audit)
    folder.require()
    name = None if by is None else reviewer_name(by)
    sample = sampled(folder, labels, per_stratum, seed)
    items = read_items(folder, sample.pairs)
    file = LabelFile(labels_file(audit))
    _note_others(file.read(), items)
    review = Review(items, file, estimator(sample), visible(audit.absolute().name), load_urls, name)
    places = review.places()
    return Opened(review, Pictures(reopened(folder) if places else None, places))


def serve_review(
    audit: Path,
    say: Callable[[str], None],
    labels: int | None = None,
    per_stratum: int | None = None,
    seed: int | None = None,
    port: int = 0,
    browser: bool = True,
    by: str | None = None,
    load_urls: bool = False,
) -> Mapping[str, Any]:
    """Serve the page on which people judge the pairs of an audit, until Ctrl-C.

    Args:
        audit: folder of a finished audit.
        say: told the address of the page.
        labels: pairs to judge; 400, or those of the sample that was drawn before, where None.
        per_stratum: pairs of each stratum at least.
        seed: of the sample; 0 where None.
        port: of this machine; 0 for any that is free.
        browser: whether to open the page.
        by: name of the reviewer; the page asks where None.
        load_urls: whether the browser may load pictures that are known by address alone.

    Returns:
        What :func:`review_status` returns.

    Raises:
        UserError: there is no finished audit, its source is gone or has changed, or the port is in use.
    """
    opened = open_review(audit, labels, per_stratum, seed, by, load_urls)
    token = new_token()
    app = review_app(opened.review, opened.pictures, token, load_urls)
    with listen(port) as listening:
        where = address(listening, token)
        say(where)
        opened.pictures.prepare(opened.review.waiting())
        running = server(app)
        if browser:
            opening = threading.Timer(0.5, webbrowser.open, [where])
            opening.daemon = True
            opening.start()
        try:
            running.run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            opened.pictures.close()
    return review_status(audit)


def read_items(folder: AuditFolder, pairs: Sequence[Drawn]) -> list[Item]:
    """Return the pairs of a sample with what is shown of them, in its order.

    Raises:
        DataError: ``pairs.parquet`` is damaged or lacks a pair.
    """
    rows = _rows(folder, [pair.id for pair in pairs])
    better = read_suggestions(folder, [pair.id for pair in pairs])
    items = []
    for pair in pairs:
        if pair.id not in rows:
            raise DataError(
                f"{sample_file(folder.path)} holds the pair {pair.id!r}, which the audit does not; move it "
                "and labels.jsonl away to begin again"
            )
        image, caption, file, row = rows[pair.id]
        given = better.get(pair.id, ())
        place = place_of(image, file, row)
        items.append(Item(pair.id, image or "", caption or "", place, pair.stratum, pair.probability, given))
    return items


def _rows(folder: AuditFolder, ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    query = (
        "SELECT id, image, caption, file, row FROM read_parquet(?) "
        "WHERE decision <> 'aside' AND id IN (SELECT unnest(?))"
    )
    try:
        with duckdb.connect() as connection:
            found = connection.execute(query, [str(folder.pairs), list(ids)]).fetchall()
    except duckdb.Error as error:
        why = str(error).splitlines()[0]
        raise DataError(f"cannot read {folder.pairs}: {why}; audit the pairs again") from error
    return {row[0]: row[1:] for row in found}


def _note_others(labels: Sequence[Label], items: Sequence[Item]) -> None:
    ids = {item.id for item in items}
    if others := {label.id for label in labels} - ids:
        logger.warning("%s labels are of pairs outside the sample, and are left alone", f"{len(others):,}")


def review_status(audit: Path) -> dict[str, Any]:
    """Return how far a review is.

    ``pairs`` are those of the sample and ``judged`` those with a verdict. ``verdicts`` counts pairs by what
    most reviewers said, ``reviewers`` the verdicts of each, ``agreement`` has the share and kappa of every
    two, ``disagreements`` the pairs that are still open, and ``estimate`` the share of wrong pairs with its
    95% interval, or None.

    Raises:
        UserError: there is no finished audit, or a file is damaged.
    """
    folder = AuditFolder(audit)
    folder.require()
    known = read_sample(audit)
    every = read_labels(labels_file(audit))
    ids = set() if known is None else {pair.id for pair in known.pairs}
    labels = [label for label in every if label.id in ids]
    outcome = settled(labels)
    found = None if known is None else estimator(known)(outcome)
    return {
        "audit": str(audit),
        "pairs": len(ids),
        "judged": len(outcome),
        "verdicts": {verdict: sum(one.verdict == verdict for one in outcome) for verdict in VERDICTS},
        "reviewers": tally(labels),
        "agreement": [asdict(one) for one in agreements(labels)],
        "disagreements": len(disagreements(labels)),
        "estimate": None if found is None else asdict(found),
    }
