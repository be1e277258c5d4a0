"""Tasks of Label Studio, in its JSON: one a pair, with the verdicts so far as annotations.

Layout: https://labelstud.io/guide/task_format. Pictures travel inside the file as ``data:`` addresses, so
that Label Studio needs no access to the source.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustcmr.audit.labels import VERDICTS, Label
from robustcmr.review.exchange import Came, Sent

CONFIG = """<View>
  <Image name="picture" value="$image" zoom="true"/>
  <Text name="caption" value="$caption"/>
  <Choices name="verdict" toName="picture" choice="single" required="true" showInline="true">
{choices}
  </Choices>
</View>
""".format(
    choices="\n".join(
        f'    <Choice value="{verdict}" hotkey="{place}"/>' for place, verdict in enumerate(VERDICTS, 1)
    )
)
"""The labelling interface of a project that these tasks belong to."""


def tasks(sent: Sequence[Sent]) -> str:
    """Return the tasks as JSON."""
    return json.dumps([_task(one) for one in sent], indent=1) + "\n"


def _task(sent: Sent) -> dict[str, Any]:
    item = sent.item
    picture = sent.picture
    image = item.image if picture is None else f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    data = {"pair": item.id, "image": image, "caption": item.caption}
    return {
        "data": {**data, "stratum": item.stratum, "probability": item.probability},
        "annotations": [_annotation(label) for label in sent.labels],
    }


def _annotation(label: Label) -> dict[str, Any]:
    choice = {
        "from_name": "verdict",
        "to_name": "picture",
        "type": "choices",
        "value": {"choices": [label.verdict]},
        "meta": {"by": label.by, "at": label.at},
    }
    return {"result": [choice], "was_cancelled": False}


def read_tasks(value: Any) -> Iterator[Came]:
    """Yield the verdicts of an export of Label Studio, as ``JSON`` or as ``JSON-MIN``.

    Raises:
        ValueError: it is of another layout.
    """
    if not isinstance(value, list):
        raise ValueError("expected a list of tasks, as Label Studio exports as JSON")
    for number, task in enumerate(value, 1):
        where = f"task {number}"
        if not isinstance(task, Mapping):
            raise ValueError(f"{where}: expected a task, got {ascii(task)[:60]}")
        data = task.get("data", task)
        pair = data.get("pair") if isinstance(data, Mapping) else None
        if not isinstance(pair, str):
            raise ValueError(f"{where}: its data has no 'pair', the id that was exported with it")
        kept = _kept(data)
        if "data" not in task:  # JSON-MIN: one verdict a task, beside its data
            if isinstance(task.get("verdict"), str):
                by, at = _name(task.get("annotator")), _text(task.get("updated_at") or task.get("created_at"))
                yield Came(pair, task["verdict"], by, at, where, **kept)
            continue
        for annotation in _list(task.get("annotations"), where):
            if not annotation.get("was_cancelled"):  # skipped
                yield from _verdicts(pair, annotation, where, kept)


def _verdicts(
    pair: str, annotation: Mapping[str, Any], where: str, kept: Mapping[str, Any]
) -> Iterator[Came]:
    for result in _list(annotation.get("result"), where):
        if result.get("from_name") != "verdict":
            continue
        value, meta = result.get("value"), result.get("meta")
        chosen = value.get("choices") if isinstance(value, Mapping) else None
        if not isinstance(chosen, list) or len(chosen) != 1 or not isinstance(chosen[0], str):
            raise ValueError(f"{where}: expected one choice as its verdict, got {ascii(chosen)[:60]}")
        meta = meta if isinstance(meta, Mapping) else {}
        by = _text(meta.get("by")) or _name(annotation.get("completed_by"))
        at = _text(meta.get("at")) or _text(annotation.get("updated_at") or annotation.get("created_at"))
        yield Came(pair, chosen[0], by, at, where, **kept)


def _kept(data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(data.get("stratum"), int):
        found["stratum"] = data["stratum"]
    if isinstance(data.get("probability"), int | float):
        found["probability"] = float(data["probability"])
    return found


def _list(value: Any, where: str) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise ValueError(f"{where}: expected a list of annotations and results, got {ascii(value)[:60]}")
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _name(user: Any) -> str | None:
    """The reviewer of an annotation: an address, a name, or the number of the user there."""
    if isinstance(user, Mapping):
        full = " ".join(filter(None, (_text(user.get("first_name")), _text(user.get("last_name")))))
        return _text(user.get("email")) or full or _name(user.get("id"))
    if isinstance(user, int) and not isinstance(user, bool):
        return f"Label Studio user {user}"
    return _text(user)
