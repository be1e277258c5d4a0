"""Run folders of version 0.1: their option names and values, mapped to those of today.

In 0.1 the method ``l2rm`` was two: with ``legacy: true`` the released recipe, now ``l2rm``; otherwise the
default of ``train``, now ``robust``.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any

logger = logging.getLogger("robustcmr")

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "streams": "groups",
        "planted_least": "synthetic_least",
        "planted_most": "synthetic_most",
        "belief_temperature": "posterior_temperature",
    }
)
"""Options of a method by their name in 0.1."""

REMOVED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "robust": {
            "mixture": "anchored",
            "evidence_margin": 0.2,
            "always_divide": False,
            "clean_loss": "infonce",
            "clean_weights": "posterior",
            "margin": 0.2,
            "mask_same_image": True,
            "rematch_loss": "cross_entropy",
            "solver": "partial",
            "weighting": "mass",
            "cost": None,  # it rematched within a batch
            "contrast": 1.0,
            "mass": 0.1,
            "epsilon": 0.01,
            "cost_lr": 1e-3,
            "synthetic_least": 0.01,
            "synthetic_most": 0.10,
            "agreement": 1.0,
            "agreement_epoch": 2,
            "warmup_loss": "infonce",
            "floor": 1e-7,
        },
        "l2rm": {
            "warmup_extension": 0,
            "unclear": 0.7,
            "warmup_loss": "rce",
            "teacher_decay": None,
            "agreement": 0.0,
            "agreement_epoch": 2,
            "always_divide": True,
            "most_wrong": 1.0,
            "groups": "split",
            "split_above": 0.65,
            "clean_loss": "hinge",
            "clean_weights": "equal",
            "mask_same_image": False,
            "rematch_loss": "kl",
            "cost": "positional",
            "contrast": 1.0,
            "solver": "dummies",
            "weighting": "uniform",
        },
    }
)
"""Options of 0.1 that are gone, with the value that may go without a warning: fixed today, or the default."""


def current_config(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a run's ``config.yaml`` with the names and values of today.

    Options of 0.1 that no longer exist are dropped, with a warning for those of :func:`lost_options`. Saved
    weights, scores and results do not depend on them.
    """
    method = tree.get("method")
    if not isinstance(method, Mapping):
        return dict(tree)
    if lost := lost_options(tree):
        logger.warning(
            "this run of version 0.1 was trained with method options that no longer exist (%s); they are "
            "ignored when its pairs are divided or rematched again",
            ", ".join(lost),
        )
    options = _renamed(method)
    if _is_older(options):
        options["name"] = "l2rm" if options.pop("legacy") else "robust"
    if options.get("name") == "robust" or _is_older(method):
        options = {key: value for key, value in options.items() if key not in REMOVED[options["name"]]}
    return {**tree, "method": options}


def lost_options(tree: Mapping[str, Any]) -> list[str]:
    """Return the method options of 0.1, as ``key=value``, whose value can no longer be set."""
    method = tree.get("method")
    options = _renamed(method) if isinstance(method, Mapping) else {}
    if not _is_older(options):
        return []
    fixed = REMOVED["l2rm" if options["legacy"] else "robust"]
    return [f"{key}={options[key]}" for key in fixed if key in options and options[key] != fixed[key]]


def _renamed(method: Mapping[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(key, key): value for key, value in method.items()}


def _is_older(options: Mapping[str, Any]) -> bool:
    return options.get("name") == "l2rm" and "legacy" in options


def replaced_options(method: str, given: Mapping[str, Any], known: Container[str]) -> dict[str, str]:
    """Return the options of 0.1 among those given, each with what to do instead.

    Args:
        method: name of the chosen method.
        given: its options as a user wrote them.
        known: options that it has today.
    """
    found = {}
    for key in given:
        if key in known:
            continue
        if RENAMED.get(key) in known:
            found[key] = f"renamed after version 0.1, use method.{RENAMED[key]}={given[key]}"
        elif method in REMOVED and key == "legacy":
            found[key] = (
                "removed after version 0.1, use --method l2rm (released recipe) or --method robust (ours)"
            )
        elif RENAMED.get(key, key) in REMOVED.get(method, ()):
            found[key] = f"removed after version 0.1, leave it out; {method} no longer varies it"
    return found
