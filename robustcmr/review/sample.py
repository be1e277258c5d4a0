"""``review.json`` of an audit: which pairs are to be judged, their strata, and how likely each was chosen.

It also holds what the audit thought of the strata when the sample was drawn, so that estimates stay valid
when the probabilities are corrected by the labels later.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from scipy.special import expit
from typing_extensions import TypedDict

from robustcmr.audit.design import Design
from robustcmr.audit.estimates import Labelled
from robustcmr.audit.labels import Label
from robustcmr.errors import DataError
from robustcmr.files import read_json, reason, write_json

WRONG = {"right": 0.0, "wrong": 1.0, "partly": 0.5}
"""What a verdict counts in estimates; pairs that nobody is sure of count nothing."""


@dataclass(frozen=True)
class Drawn:
    """A pair of the sample.

    Attributes:
        id: of the pair.
        stratum: that it was drawn from.
        probability: of its being drawn, in (0, 1].
        score: log odds that it is right, as the audit had them then.
    """

    id: str
    stratum: int
    probability: float
    score: float


@dataclass(frozen=True)
class Request:
    """What a sample was drawn by.

    Attributes:
        labels: pairs asked for.
        per_stratum: pairs of each stratum at least; None where only their sum was asked for.
        seed: of the draw and of the order.
    """

    labels: int
    per_stratum: int | None
    seed: int


@dataclass(frozen=True)
class Sample:
    """The pairs to judge.

    Attributes:
        request: what it was drawn by.
        design: strata of all pairs.
        pairs: in the order they are judged in.
    """

    request: Request
    design: Design
    pairs: tuple[Drawn, ...]

    def labelled(self, labels: Sequence[Label]) -> Labelled:
        """Return settled labels as numbers, those of pairs outside the sample and unsure ones left out."""
        known = {pair.id: pair for pair in self.pairs}
        sure = [
            (known[one.id], WRONG[one.verdict]) for one in labels if one.id in known and one.verdict in WRONG
        ]
        return Labelled(
            np.array([wrong for _, wrong in sure], np.float64),
            expit(-np.array([pair.score for pair, _ in sure], np.float64)),
            np.array([pair.stratum for pair, _ in sure], np.int64),
        )


class _Drawn(TypedDict):
    id: str
    stratum: Annotated[int, Ge(0)]
    probability: Annotated[float, Gt(0), Le(1)]
    score: float


class _Strata(TypedDict):
    edges: list[float]
    counts: list[Annotated[int, Ge(0)]]
    means: list[Annotated[float, Ge(0), Le(1)]]


class _Sample(TypedDict):
    labels: int
    per_stratum: int | None
    seed: int
    strata: _Strata
    pairs: list[_Drawn]


def sample_file(audit: Path) -> Path:
    """Return where the sample of an audit is kept."""
    return audit / "review.json"


def labels_file(audit: Path) -> Path:
    """Return where the labels of an audit are kept."""
    return audit / "labels.jsonl"


def write_sample(audit: Path, sample: Sample) -> None:
    """Write the sample of an audit."""
    strata = {name: getattr(sample.design, name).tolist() for name in ("edges", "counts", "means")}
    pairs = [asdict(pair) for pair in sample.pairs]
    write_json(sample_file(audit), {**asdict(sample.request), "strata": strata, "pairs": pairs})


def read_sample(audit: Path) -> Sample | None:
    """Return the sample of an audit; None where none was drawn.

    Raises:
        DataError: the file is damaged.
    """
    path = sample_file(audit)
    try:
        found: _Sample = read_json(path, _Sample)
        sample = _sample(found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise DataError(
            f"cannot read {path}: {why}; remove it, and 'robustcmr review' draws the sample again"
        ) from error
    return sample


def _sample(found: _Sample) -> Sample:
    strata = found["strata"]
    count = len(strata["counts"])
    if len(strata["means"]) != count or len(strata["edges"]) != count - 1:
        raise ValueError("its strata have counts, means and edges of numbers that do not belong together")
    if (outside := [pair["id"] for pair in found["pairs"] if pair["stratum"] >= count]) != []:
        raise ValueError(f"the stratum of pair {outside[0]!r} is not among its {count} strata")
    design = Design(
        np.array(strata["edges"], np.float64),
        np.array(strata["counts"], np.int64),
        np.array(strata["means"], np.float64),
    )
    request = Request(found["labels"], found["per_stratum"], found["seed"])
    return Sample(request, design, tuple(Drawn(**pair) for pair in found["pairs"]))


def in_order(pairs: Sequence[Drawn], seed: int) -> list[Drawn]:
    """Return the pairs in an order whose every beginning holds each stratum in proportion.

    So the estimate makes sense from the first verdicts on, and a review can end at any time.
    """
    strata: dict[int, list[Drawn]] = defaultdict(list)
    for pair in pairs:
        strata[pair.stratum].append(pair)
    rng = random.Random(seed)
    placed = []
    for number in sorted(strata):
        members = sorted(strata[number], key=lambda pair: pair.id)
        rng.shuffle(members)
        placed += [((rank + rng.random()) / len(members), pair) for rank, pair in enumerate(members)]
    return [pair for _, pair in sorted(placed, key=lambda one: (one[0], one[1].id))]
