"""Find the networks of a released file, and its claims about their training."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from robustcmr.errors import CheckpointError

CONTAINERS = ("model", "net", "state_dict")
"""Keys of one or more networks."""

_ONE_OF_TWO = re.compile(r"(?:model|net|state_dict)_?([AB])", re.IGNORECASE)
_CLAIMED = ("epoch", "best_rsum", "Eiters")
_CLAIMED_OPTIONS = ("data_name", "module_name", "noise_ratio", "noise_rate", "seed")


@dataclass(frozen=True)
class ReleasedNetwork:
    """One network of a file, its parts in one mapping.

    Attributes:
        weights: tensors by part and key, such as ``img_enc.fc.weight``.
        name: ``A`` or ``B`` of two, or None where the file holds one.
        claims: values in the file about its training, by name.
    """

    weights: dict[str, Tensor]
    name: str | None
    claims: dict[str, Any]


def find_network(document: Any, parts: Sequence[str], chosen: str | None = None) -> ReleasedNetwork:
    """Return a network from the content of a file.

    Args:
        document: a dict with ``model``, ``net`` or ``state_dict``, or with ``model_A`` and ``model_B`` for
            two networks trained together; or a network itself. A network is a list of state dicts in the
            order of ``parts``, a dict of them by name, or one state dict whose keys begin with the names.
        parts: names of its parts.
        chosen: which of two networks, ``A`` or ``B``.

    Raises:
        CheckpointError: there is no network of these parts; there are two and none is chosen, or one and one
            of two is chosen; or its options say that it scores differently.
    """
    networks = _networks(document)
    if chosen is not None:
        chosen = chosen.upper()
    elif len(networks) == 1:
        chosen = next(iter(networks))
    there = "one network" if None in networks else f"the networks {' and '.join(map(str, networks))}"
    if chosen is None and None not in networks:
        raise CheckpointError(
            f"the file holds {there}; choose one with --network, such as --network A, and evaluate both run "
            "folders together for their ensemble"
        )
    if chosen not in networks:
        raise CheckpointError(
            f"the file holds {there}, but --network is {chosen}; omit it, or choose one of these"
        )
    return ReleasedNetwork(_flat(networks[chosen], parts), chosen, _claims(document))


def _networks(document: Any) -> dict[str | None, Any]:
    """Return networks by name; None is the name of a single one."""
    held = document
    if isinstance(document, Mapping) and not _pair(document):
        held = next((document[key] for key in CONTAINERS if key in document), document)
    if isinstance(held, Mapping):
        return _pair(held) or {None: held}
    if isinstance(held, list | tuple) and len(held) == 2 and all(isinstance(x, list | tuple) for x in held):
        return dict(zip("AB", held, strict=True))
    return {None: held}


def _pair(document: Mapping[Any, Any]) -> dict[str | None, Any]:
    """Return two networks by name, from keys such as ``model_A`` and ``model_B``; empty if there are none."""
    found: dict[str | None, Any] = {}
    for key in sorted(map(str, document)):
        match = _ONE_OF_TWO.fullmatch(key)
        if match is not None:
            found[match.group(1).upper()] = document[key]
    return found


def _flat(network: Any, parts: Sequence[str]) -> dict[str, Tensor]:
    wanted = f"the state dicts of {', '.join(parts)}"
    if isinstance(network, list | tuple):
        if len(network) != len(parts):
            raise CheckpointError(
                f"the network is a list of {len(network)}, expected {len(parts)}: {wanted}; "
                "check --from, or choose another file"
            )
        network = dict(zip(parts, network, strict=True))
    if not isinstance(network, Mapping) or not network:
        raise CheckpointError(
            f"the file holds no network but a {type(network).__name__}; expected {wanted}, as a list or by "
            f"name, under {' or '.join(CONTAINERS)}"
        )
    weights: dict[str, Tensor] = {}
    for name, state in network.items():
        if isinstance(state, Tensor):  # one state dict of everything
            weights[_unwrapped(name)] = state.detach()
            continue
        part = _unwrapped(name)
        if not isinstance(state, Mapping):
            raise CheckpointError(f"{part} is a {type(state).__name__}, expected a state dict; {wanted}")
        for key, value in state.items():
            place = f"{part}.{_unwrapped(key)}"
            if not isinstance(value, Tensor):
                raise CheckpointError(
                    f"{place} is a {type(value).__name__}, expected a tensor; choose another file"
                )
            weights[place] = value.detach()
    missing = [part for part in parts if not any(key.startswith(f"{part}.") for key in weights)]
    if missing:
        there = dict.fromkeys(key.partition(".")[0] for key in weights)
        raise CheckpointError(
            f"the network has no {' and no '.join(missing)}, only {', '.join(list(there)[:6])}; "
            f"expected {wanted}"
        )
    return weights


def _unwrapped(key: object) -> str:
    """Return a key without the ``module`` that DataParallel inserts."""
    return ".".join(name for name in str(key).split(".") if name != "module")


def _claims(document: Any) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        return {}
    options = document.get("opt")
    if isinstance(options, argparse.Namespace):
        options = vars(options)
    options = options if isinstance(options, Mapping) else {}
    unnormalised = [key for key in ("no_imgnorm", "no_txtnorm") if options.get(key) is True]
    if unnormalised:
        raise CheckpointError(
            f"the options in it say {' and '.join(unnormalised)}, so this network compares vectors that "
            "were not normalised; only networks that normalise them, the default, can be converted"
        )
    found = {key: document.get(key) for key in _CLAIMED} | {key: options.get(key) for key in _CLAIMED_OPTIONS}
    plain = {key: _plain(value) for key, value in found.items()}
    return {key: value for key, value in plain.items() if value is not None}


def _plain(value: Any) -> Any:
    """Return a number or text as a Python value; None for anything else."""
    if hasattr(value, "item") and (not isinstance(value, Tensor) or value.numel() == 1):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float) else None
