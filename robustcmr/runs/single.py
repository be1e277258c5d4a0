"""What the networks of a run measure alone, beside the ensemble that averages their scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from robustcmr.runs.read import SavedRun

Splits = dict[str, dict[str, Any]]


def single_splits(results: Mapping[str, Any]) -> Splits:
    """Return the measures of one network by split: the mean over the run's networks, each measured alone.

    Args:
        results: ``results.json``.

    Returns:
        Plain values; empty where the run has one network, or did not record them apart.
    """
    return {split: _mean(alone) for split, alone in results.get("by_model", {}).items() if alone}


def named_splits(results: Mapping[str, Any]) -> Splits:
    """Return the measures by split, those of an ensemble as ``test, single`` and ``test, 2 models``."""
    singles, named = single_splits(results), {}
    for split, measures in results["splits"].items():
        if split in singles:
            named[f"{split}, single"] = singles[split]
            named[f"{split}, {results['n_models']} models"] = measures
        else:
            named[split] = measures
    return named


def single_run(run: SavedRun) -> SavedRun | None:
    """Return a run as one network alone, which has no file of queries; None where it is not known."""
    splits = single_splits(run.results)
    if not splits:
        return None
    return dataclasses.replace(run, results={**run.results, "n_models": 1, "splits": splits}, alone=True)


def _mean(alone: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean of the numbers that all have; a value that is the same in all stays as it is, other lists go."""
    found: dict[str, Any] = {}
    for key, first in alone[0].items():
        values: list[Any] = [each.get(key) for each in alone]
        if all(value == first for value in values):
            found[key] = first
        elif all(isinstance(value, (int, float)) for value in values):
            found[key] = fmean(values)
    return found
