"""Map the tensors of a released network to those of our matchers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from robustcmr.errors import CheckpointError

WEIGHT = ("weight",)
LINEAR = ("weight", "bias")
GRU = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

_COUNTER = ".num_batches_tracked"  # used only in training; files of old versions lack it
_BACKBONES = {
    "txt_enc.bert.": "reads captions by BERT; only networks whose captions are read by a bi-GRU (embed and "
    "rnn) can be converted",
    "img_enc.backbone.": "reads pictures; only networks that read precomputed region features can be "
    "converted",
}


@dataclass(frozen=True)
class KeyMap:
    """The destination of every key of a released network.

    Attributes:
        renamed: their key -> ours.
        folded: their bias before a normalisation -> our running mean, from which it is subtracted: with
            ``norm(y) = (y - mean) / deviation``, ``(Wx + b) - mean = Wx - (mean - b)``.
        without_effect: their key -> why no score depends on it.
    """

    renamed: dict[str, str]
    folded: dict[str, str] = field(default_factory=dict)
    without_effect: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A released network as a matcher of ours: its name and sizes, read from the shapes, and its keys.

    ``n_regions`` is the number of regions that an image must have; None for any number.
    """

    matcher: str
    options: Mapping[str, Any]
    feature_width: int
    vocabulary_size: int
    n_regions: int | None
    keys: KeyMap


@dataclass(frozen=True, kw_only=True)
class Moved(KeyMap):
    """A released state by our keys, the destinations of its own, and its keys without a counterpart."""

    state: dict[str, Tensor]
    without_place: list[str]


def renaming(*modules: tuple[str, str, Sequence[str]]) -> dict[str, str]:
    """Return their key -> ours for modules (theirs, ours, names of tensors)."""
    return {f"{theirs}.{name}": f"{ours}.{name}" for theirs, ours, names in modules for name in names}


def both_ways(theirs: str, forward: str, backward: str) -> dict[str, str]:
    """Return their key -> ours for a bidirectional GRU, which is two readers here."""
    reverse = {f"{theirs}.{name}_reverse": f"{backward}.{name}" for name in GRU}
    return {**renaming((theirs, forward, GRU)), **reverse}


def refuse_backbones(weights: Mapping[str, Tensor]) -> None:
    """Raise a :class:`CheckpointError` for a network that reads pictures, or captions by BERT."""
    for prefix, reason in _BACKBONES.items():
        if any(key.startswith(prefix) for key in weights):
            raise CheckpointError(f"this network has {prefix}* and {reason}")


def shape_of(weights: Mapping[str, Tensor], key: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape of a tensor that sizes are read from, checked to have so many dimensions."""
    if key not in weights:
        raise CheckpointError(f"the network has no {key}; check --from, or choose another file")
    shape = tuple(weights[key].shape)
    if len(shape) != dimensions:
        raise CheckpointError(f"{key} has the shape {shape}, expected {dimensions} dimensions")
    return shape


def move(weights: Mapping[str, Tensor], keys: KeyMap, target: Mapping[str, Tensor]) -> Moved:
    """Rename and fold a released state into the state ``target`` of a matcher.

    Raises:
        CheckpointError: one of our keys gets no value, shapes differ, or a value is not finite.
    """
    ours = {mine: theirs for theirs, mine in keys.renamed.items()}
    lacking = [
        ours[mine] for mine in target if ours[mine] not in weights and not ours[mine].endswith(_COUNTER)
    ]
    if lacking:
        raise CheckpointError(
            f"the network lacks {len(lacking)} of the {len(target)} tensors its matcher needs, "
            f"{', '.join(lacking[:4])}{' and so on' if len(lacking) > 4 else ''}; check --from, or choose "
            "another file"
        )
    renamed, folded, without_effect = (
        {theirs: value for theirs, value in found.items() if theirs in weights}
        for found in (keys.renamed, keys.folded, keys.without_effect)
    )
    _check(weights, target, [*renamed.items(), *folded.items()])
    state = dict(target)  # counters the file lacks keep theirs
    for theirs, mine in renamed.items():
        state[mine] = weights[theirs].to(target[mine].dtype).clone()
    for theirs, mine in folded.items():  # in double precision: mean and bias may be close
        mean = weights[ours[mine]].double() - weights[theirs].double()
        state[mine] = mean.to(target[mine].dtype)
    placed = {*renamed, *folded, *without_effect}
    without_place = [key for key in weights if key not in placed]
    return Moved(renamed, folded, without_effect, state=state, without_place=without_place)


def _check(
    weights: Mapping[str, Tensor], target: Mapping[str, Tensor], pairs: Sequence[tuple[str, str]]
) -> None:
    wrong = [
        f"{theirs} has the shape {tuple(weights[theirs].shape)} where {tuple(target[mine].shape)} was "
        "expected"
        for theirs, mine in pairs
        if weights[theirs].shape != target[mine].shape
    ]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(f"{'; '.join(wrong[:3])}{more}; this is another kind of network")
    broken = [theirs for theirs, _ in pairs if not bool(torch.isfinite(weights[theirs]).all())]
    if broken:
        raise CheckpointError(f"{broken[0]} holds NaN or infinite numbers; choose another checkpoint")
