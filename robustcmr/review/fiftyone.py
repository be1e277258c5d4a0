"""Folders that FiftyOne reads and writes as ``FiftyOneImageClassificationDataset``.

Layout: ``data/`` with a picture a pair, and ``labels.json`` with ``classes`` and ``labels`` by the name of
the picture without its suffix. https://docs.voxel51.com/user_guide/import_datasets.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustcmr.audit.labels import VERDICTS, Label
from robustcmr.review.exchange import Came, Sent


def labels_json(sent: Sequence[Sent]) -> str:
    """Return ``labels.json``.

    A picture has one classification, or null where nobody has judged the pair. Where reviewers are several,
    each picture has a list of classifications instead, one a reviewer.
    """
    several = any(len(one.labels) > 1 for one in sent)
    labels: dict[str, Any] = {}
    for one in sent:
        found = [_classification(one, label) for label in one.labels]
        labels[one.item.key] = found if several else found[0] if found else None
    return json.dumps({"classes": list(VERDICTS), "labels": labels}, indent=1) + "\n"


def _classification(sent: Sent, label: Label) -> dict[str, Any]:
    attributes = {
        "pair": label.id,
        "by": label.by,
        "at": label.at,
        "caption": sent.item.caption,
        "stratum": label.stratum,
        "probability": label.probability,
    }
    return {"label": label.verdict, "attributes": attributes}


def read_labels_json(value: Any) -> Iterator[Came]:
    """Yield the verdicts of a ``labels.json``.

    Raises:
        ValueError: it is of another layout.
    """
    labels = value.get("labels") if isinstance(value, Mapping) else None
    if not isinstance(labels, Mapping):
        raise ValueError("expected 'labels' by picture, as FiftyOneImageClassificationDataset has them")
    classes = value.get("classes")
    for name, given in labels.items():
        where = f"picture {name}"
        for one in given if isinstance(given, list) else [given]:
            if one is not None:
                yield _came(name, one if isinstance(one, Mapping) else {"label": one}, classes, where)


def _came(name: str, one: Mapping[str, Any], classes: Any, where: str) -> Came:
    verdict = one.get("label")
    if isinstance(verdict, int) and isinstance(classes, list) and 0 <= verdict < len(classes):
        verdict = classes[verdict]
    if not isinstance(verdict, str):
        raise ValueError(f"{where}: expected a label, got {ascii(verdict)[:60]}")
    attributes = one.get("attributes")
    held: Mapping[str, Any] = attributes if isinstance(attributes, Mapping) else {}
    pair, probability = held.get("pair"), held.get("probability")
    return Came(
        pair if isinstance(pair, str) else name.rpartition("/")[2],
        verdict,
        held.get("by") if isinstance(held.get("by"), str) else None,
        held.get("at") if isinstance(held.get("at"), str) else None,
        where,
        held.get("stratum") if isinstance(held.get("stratum"), int) else None,
        float(probability) if isinstance(probability, int | float) else None,
    )
