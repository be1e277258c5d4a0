"""Where a released file keeps its networks, and what it says of them."""

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
"""Keys that hold a network, or several."""

_ONE_OF_TWO = re.compile(r"(?:model|net|state_dict)_?([AB])", re.IGNORECASE)
_CLAIMED = ("epoch", "best_rsum", "Eiters")
_CLAIMED_OPTIONS = ("data_name", "module_name", "noise_ratio", "noise_rate", "seed")


@dataclass(frozen=True)
class ReleasedNetwork:
    """One network of a file, its parts in one mapping.

    Attributes:
        weights: tensors by part and key, such as ``img_enc.fc.weight``.
        name: ``A`` or ``B`` of two, or None where the file holds one.
        claims: what the file says of its training, plain values by name.
    """

    weights: dict[str, Tensor]
    name: str | None
    claims: dict[str, Any]


def find_network(document: Any, parts: Sequence[str], chosen: str | None = None) -> ReleasedNetwork:
    """The network in what was read from a file.

    Args:
        document: a dict with ``model``, ``net`` or ``state_dict``, or with ``model_A`` and ``model_B`` for
            two networks trained together; or a network itself. A network is a list of state dicts in the
            order of ``parts``, a dict of them by name, or one state dict whose keys begin with the names.
        parts: names of its parts.
        chosen: which of two networks, ``A`` or ``B``.

    Raises:
        CheckpointError: there is no network of these parts, it is not said which of two is meant, or one of
            several is asked for where there is one; or its options are of a kind that scores otherwise.
    """
    networks = _networks(document)
    if chosen is not None:
        chosen = chosen.upper()
    elif len(networks) == 1:
        chosen = next(iter(networks))
    there = "one network" if None in networks else f"the networks {' and '.join(map(str, networks))}"
    if chosen is None and None not in networks:
        raise CheckpointError(
            f"the file holds {there}; choose one by --network, and measure the run folders of both together "
            "for their ensemble"
        )
    if chosen not in networks:
        raise CheckpointError(
            f"the file holds {there}, but --network is {chosen}; leave it out, or name one that is there"
        )
    return ReleasedNetwork(_flat(networks[chosen], parts), chosen, _claims(document))


def _networks(document: Any) -> dict[str | None, Any]:
    """Networks by name; None is the name of a lone one."""
    held = document
    if isinstance(document, Mapping) and not _pair(document):
        held = next((document[key] for key in CONTAINERS if key in document), document)
    if isinstance(held, Mapping):
        return _pair(held) or {None: held}
    if isinstance(held, list | tuple) and len(held) == 2 and all(isinstance(x, list | tuple) for x in held):
        return dict(zip("AB", held, strict=True))
    return {None: held}


def _pair(document: Mapping[Any, Any]) -> dict[str | None, Any]:
    """Two networks by name, from keys such as ``model_A`` and ``model_B``; empty where there are none."""
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
    """A key without the ``module`` that DataParallel puts before a module's own keys."""
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
    """A number or text as Python's own; None for anything else."""
    if hasattr(value, "item") and (not isinstance(value, Tensor) or value.numel() == 1):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float) else None
