"""Say what labels prove of an audit, and judge its pairs again by them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.special import expit

from robustcmr.audit.certify import Certified, certify_precision, certify_recall, make_cuts
from robustcmr.audit.decide import DROP, NAMES
from robustcmr.audit.design import Design, make_design
from robustcmr.audit.estimates import (
    Estimate,
    Labelled,
    labels_for_width,
    list_precision,
    list_recall,
    noise_rate,
)
from robustcmr.audit.labels import Label, read_labels, settled
from robustcmr.audit.lists import ListWriter, write_uids
from robustcmr.audit.output import OUTPUT
from robustcmr.audit.recalibrate import recalibrate
from robustcmr.audit.relabel import BY_SCORE, judged_again
from robustcmr.audit.tally import Tally
from robustcmr.errors import ArgumentError, DataError
from robustcmr.files import atomic_file, read_json, reason, write_json
from robustcmr.jobs.audit_settings import LOCK
from robustcmr.locks import sole_user
from robustcmr.review.sample import read_sample
from robustcmr.runs.audits import AuditFolder
from robustcmr.types import FloatArray

AUDITED = "audited.parquet"
"""The pairs as the audit judged them, kept beside ``pairs.parquet`` once labels have judged them again."""

_WRONG = {"right": 0.0, "partly": 0.5, "wrong": 1.0}
_MEMORY = 2**30  # bytes that a sort of uids may take
_CUTS_OF = 1_000_000  # scores that the lists are quantiles of, at most


@dataclass(frozen=True)
class Certificate:
    """What labels prove of an audit.

    Attributes:
        labels: pairs that somebody is sure of.
        unsure: pairs that nobody is sure of, or of which as many say one thing as another; not counted.
        noise_rate: share of wrong pairs.
        drop_precision: share of wrong pairs among those that the audit itself dropped for their score; None
            where none of them was labelled.
        drop_recall: share of all wrong pairs among those; likewise.
        kind: ``precision`` or ``recall``.
        target: asked for.
        confidence: of the promise.
        found: the list, or why there is none.
        recall: share of all wrong pairs in the list, estimated; None without a list.
        says: all of this, a sentence each.
    """

    labels: int
    unsure: int
    noise_rate: Estimate
    drop_precision: Estimate | None
    drop_recall: Estimate | None
    kind: str
    target: float
    confidence: float
    found: Certified
    recall: float | None
    says: tuple[str, ...]


def certify_audit(
    path: Path, precision: float | None = None, recall: float | None = None, confidence: float = 0.95
) -> Certificate:
    """Choose the list of wrong pairs that labels stand behind, and judge all pairs again by the labels.

    The largest list of the precision asked for is dropped, or the smallest of the recall; where the labels do
    not suffice for one, decisions stay and probabilities alone are corrected. ``pairs.parquet``, the lists
    and ``summary.json`` are written again; the pairs as the audit judged them stay in ``audited.parquet``,
    from which every further call starts, so more labels can follow.

    Args:
        path: folder of a finished audit with labels of 'robustcmr review'.
        precision: least share of wrong pairs in the list, in (0, 1).
        recall: least share of the wrong pairs that the list holds, in (0, 1); either this or ``precision``.
        confidence: of the promise, in (0, 1).

    Raises:
        UserError: there is no audit, there are too few labels, or the folder is in use or damaged.
    """
    target = precision if precision is not None else recall
    if target is None or (precision is not None and recall is not None):
        raise ArgumentError("give either a precision or a recall, such as precision=0.95")
    for name, value in (
        ("precision" if precision is not None else "recall", target),
        ("confidence", confidence),
    ):
        if not 0 < value < 1:
            raise ArgumentError(f"{name} is {value:g}, expected a share between 0 and 1, such as 0.95")
    folder = AuditFolder(path)
    folder.require()
    kind = "precision" if precision is not None else "recall"
    with sole_user(path / LOCK, f"the audit folder {path}"):
        try:
            return _certified(folder, kind, target, confidence)
        except (OSError, pa.ArrowException) as error:
            why = reason(error) if isinstance(error, OSError) else str(error).splitlines()[0]
            raise DataError(
                f"cannot judge the pairs of {path} again: {why}; audit the pairs again"
            ) from error


def _certified(folder: AuditFolder, kind: str, target: float, confidence: float) -> Certificate:
    source = folder.path / AUDITED if (folder.path / AUDITED).exists() else folder.pairs
    every = settled(read_labels(folder.path / "labels.jsonl"))
    labels = [label for label in every if label.verdict != "unsure"]
    if not labels:
        raise DataError(
            f"the audit in {folder.path} has no labels yet; judge some of its pairs first: robustcmr review "
            f"{folder.path} --labels 400"
        )
    design = make_design(_scores(source), _scores(source))
    scores = _of_labels(source, labels)
    sampled = _drawn(folder.path, labels)
    labelled = Labelled(
        np.array([_WRONG[label.verdict] for label in labels]), expit(-scores), design.stratum(scores)
    )
    rate = noise_rate(labelled, design.counts, design.means)
    cuts = make_cuts(_some(source), _scores(source), design)
    choose = certify_precision if kind == "precision" else certify_recall
    found = choose(labelled, scores, cuts, target, confidence)
    share = _recall(labelled, scores, found.cut, design) if found.cut is not None else None
    precision, recall = _dropped(source, labelled, [label.id for label in labels], design)
    certificate = Certificate(
        labels=len(labels),
        unsure=len(every) - len(labels),
        noise_rate=rate,
        drop_precision=precision,
        drop_recall=recall,
        kind=kind,
        target=target,
        confidence=confidence,
        found=found,
        recall=share,
        says=(),
    )
    certificate = replace(certificate, says=_says(certificate))
    odds = recalibrate(-scores, labelled.wrong, sampled)
    _keep(folder)
    _write_again(
        folder, lambda table: judged_again(table, odds, found.cut, f"{len(labels)} labels"), certificate.says
    )
    write_json(folder.path / "certified.json", asdict(certificate))
    return certificate


def _scores(path: Path) -> Iterator[FloatArray]:
    """Yield the scores of all pairs, NaN where a pair was not judged."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["score"]):
            yield np.asarray(batch["score"].to_numpy(zero_copy_only=False), np.float32)


def _some(path: Path) -> FloatArray:
    """Scores at even distances, ``_CUTS_OF`` at most: the order of the pairs is that of the source."""
    with pq.ParquetFile(path) as file:
        step = max(1, -(-file.metadata.num_rows // _CUTS_OF))
    return np.concatenate([scores[::step] for scores in _scores(path)])


def _of_labels(path: Path, labels: list[Label]) -> npt.NDArray[np.float64]:
    """Scores of the labelled pairs."""
    wanted = pa.array([label.id for label in labels], pa.string())
    found: dict[str, float] = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["id", "score"]):
            chosen = batch.filter(pc.is_in(batch["id"], value_set=wanted))
            for key, score in zip(chosen["id"].to_pylist(), chosen["score"].to_pylist(), strict=True):
                if score is not None:
                    found.setdefault(key, score)
    lost = [label.id for label in labels if label.id not in found]
    if lost:
        raise DataError(
            f"{len(lost):,} labelled pairs are not among the judged ones of the audit, such as {lost[0]!r}; "
            "labels belong to the audit that they were given for"
        )
    return np.array([found[label.id] for label in labels])


def _drawn(audit: Path, labels: list[Label]) -> npt.NDArray[np.float64]:
    """Probability with which each pair was drawn; by the sample as it is, as it may have grown since."""
    sample = read_sample(audit)
    known = {} if sample is None else {pair.id: pair.probability for pair in sample.pairs}
    return np.array([known.get(label.id, label.probability) for label in labels])


def _dropped(
    path: Path, labelled: Labelled, ids: list[str], design: Design
) -> tuple[Estimate, Estimate] | tuple[None, None]:
    """Precision and recall of the pairs that the audit dropped for their score."""
    within, listed = np.zeros(len(design.counts), np.int64), set()
    wanted = pa.array(ids, pa.string())
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["id", "score", "decision", "reason"]):
            by_score = pc.is_in(batch["reason"].cast(pa.string()), value_set=pa.array(BY_SCORE))
            drop = pc.equal(batch["decision"].cast(pa.string()), NAMES[DROP])
            chosen = batch.filter(pc.and_(pc.and_(by_score, drop), pc.is_valid(batch["score"])))
            strata = design.stratum(chosen["score"].to_numpy(zero_copy_only=False))
            within += np.bincount(strata, minlength=len(within))
            listed |= set(chosen["id"].filter(pc.is_in(chosen["id"], value_set=wanted)).to_pylist())
    inside = np.array([key in listed for key in ids])
    if not inside.any():
        return None, None
    recall = list_recall(labelled, inside, within, design.counts - within)
    return list_precision(labelled.only(inside), within), recall


def _recall(labelled: Labelled, scores: npt.NDArray[np.float64], cut: float, design: Design) -> float:
    """Estimated share of the wrong pairs that have at most a score."""
    have = np.bincount(labelled.stratum, minlength=len(design.counts))
    weights = (design.counts / np.maximum(have, 1))[labelled.stratum] * labelled.wrong
    return float(weights[scores <= cut].sum() / weights.sum()) if weights.sum() > 0 else 0.0


def _says(made: Certificate) -> tuple[str, ...]:
    rate, found = made.noise_rate, made.found
    width = 0.05 if rate.width > 0.05 else 0.02
    says = [
        f"By {made.labels:,} labels, {_percent(rate.value)} of the pairs are wrong ({_percent(rate.low)} to "
        f"{_percent(rate.high)}); about {labels_for_width(rate, width):,} labels would narrow this to "
        f"{100 * width:.0f} points."
    ]
    if made.drop_precision is not None and made.drop_recall is not None:
        says.append(
            f"Of the pairs that the audit dropped for their score, {_interval(made.drop_precision)} are "
            f"wrong; they hold {_interval(made.drop_recall)} of all wrong pairs."
        )
    promise = f"a {made.kind} of {_percent(made.target)} with {_percent(made.confidence)} confidence"
    if found.cut is not None:
        what = "of them are wrong" if made.kind == "precision" else "of all wrong pairs are among them"
        says.append(
            f"Certified: {found.pairs:,} pairs are dropped, and at least {_percent(found.bound)} {what}, "
            f"with {_percent(made.confidence)} confidence."
        )
        if made.kind == "precision" and made.recall is not None:
            says.append(f"The list holds an estimated {_percent(made.recall)} of all wrong pairs.")
    elif found.needed is not None:
        says.append(f"The labels do not prove {promise} for any list; about {found.needed:,} labels would.")
    else:
        says.append(
            f"The labels do not prove {promise} for any list, and do not show one for which more would; ask "
            f"for less, such as {_percent(max(0.5, made.target - 0.1))}."
        )
    if made.unsure:
        says.append(
            f"{made.unsure:,} pairs that nobody is sure of, or on which reviewers are split, do not count."
        )
    return tuple(says)


def _interval(found: Estimate) -> str:
    return f"{_percent(found.value)} ({_percent(found.low)} to {_percent(found.high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _keep(folder: AuditFolder) -> None:
    """Keep the pairs as the audit judged them."""
    kept = folder.path / AUDITED
    if kept.exists():
        return
    try:
        os.link(folder.pairs, kept)
    except OSError:  # a file system without links
        with folder.pairs.open("rb") as source, atomic_file(kept) as target:
            shutil.copyfileobj(source, target)


def _write_again(folder: AuditFolder, again: Any, says: tuple[str, ...]) -> None:
    """Write pairs, lists and summary; ``again`` judges a table."""
    tally = Tally()
    with ExitStack() as stack:
        file = stack.enter_context(pq.ParquetFile(folder.path / AUDITED))
        to = stack.enter_context(atomic_file(folder.pairs))
        writer = stack.enter_context(pq.ParquetWriter(to, OUTPUT, compression="zstd", compression_level=3))
        names = ListWriter(folder.lists, stack)
        for group in range(file.num_row_groups):
            table, decision = again(file.read_row_group(group).cast(OUTPUT))
            writer.write_table(table, row_group_size=max(1, len(table)))
            names.add(table["id"].combine_chunks(), decision)
            words = table["reason"].cast(pa.string())
            place = table.schema.get_field_index("reason")
            tally.add(table.set_column(place, "reason", words), decision)
    counts = {name: tally.decisions.get(name, 0) for name in NAMES}
    if names.uids:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder.path / "spill")
        write_uids(folder.pairs, folder.lists, counts, folder.path / "spill", _MEMORY)
        shutil.rmtree(folder.path / "spill", ignore_errors=True)
    summary = read_json(folder.summary)
    summary["decisions"] = counts
    summary["reasons"] = {name: dict(found.most_common()) for name, found in tally.reasons.items()}
    summary["certified"] = list(says)
    write_json(folder.summary, summary)
