"""A calibration as one file of arrays, so that new shards are judged by the same measure."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from robustcmr.audit.calibration import Calibration, Model, NoiseRate
from robustcmr.audit.curve import Curve, Share
from robustcmr.audit.evidence import Line
from robustcmr.audit.heads import Head, Space
from robustcmr.audit.similarity import Reference
from robustcmr.errors import DataError
from robustcmr.files import reason, regular_file, write_with

_LARGEST = 2**30  # bytes of a file
_FORMAT = 1


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration atomically as ``.npz`` without pickled objects.

    Raises:
        UserError: the file cannot be written.
    """
    arrays: dict[str, Any] = {}
    for number, space in enumerate(calibration.spaces):
        for field in fields(Reference):
            arrays[f"space{number}.{field.name}"] = getattr(space.reference, field.name)
        if space.head is not None:
            arrays[f"space{number}.head_image"] = space.head.image
            arrays[f"space{number}.head_text"] = space.head.text
    model = calibration.model
    about: dict[str, Any] = {
        "format": _FORMAT,
        "pairs": calibration.pairs,
        "seed": calibration.seed,
        "spaces": len(calibration.spaces),
        "rate": asdict(calibration.rate),
        "lines": {name: asdict(line) for name in ("alone", "both") if (line := getattr(model, name))},
        "shares": {},
    }
    for name in ("alone", "both"):
        curve: Curve | None = getattr(model, f"{name}_curve")
        if curve is not None:
            about["shares"][name] = asdict(curve.share)
            arrays.update(
                {f"{name}.{key}": getattr(curve, key) for key in ("points", "log_odds", "low", "high")}
            )
    arrays |= {"null.random": calibration.random, "null.near": calibration.near}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_with(path, lambda file: np.savez(file, **arrays))


def read_calibration(path: Path) -> Calibration:
    """Read what :func:`save_calibration` wrote.

    Raises:
        DataError: the file is missing, damaged or no calibration.
    """
    expected = "expected the calibration.npz of a finished audit"
    try:
        with regular_file(path, _LARGEST) as file, np.load(file, allow_pickle=False) as arrays:
            return _calibration({name: arrays[name] for name in arrays.files})
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}; {expected}") from error
    except (ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no calibration or is damaged; {expected}") from error


def _calibration(arrays: dict[str, Any]) -> Calibration:
    about = json.loads(arrays["about"].tobytes())
    if about["format"] != _FORMAT:
        raise ValueError("another format")
    spaces = []
    for number in range(about["spaces"]):
        key = f"space{number}."
        reference = Reference(*(_finite(arrays[key + field.name], 2) for field in fields(Reference)))
        head = None
        if key + "head_image" in arrays:
            head = Head(_finite(arrays[key + "head_image"], 2), _finite(arrays[key + "head_text"], 2))
        spaces.append(Space(head, reference))
    lines = {
        name: Line(tuple(float(x) for x in line["weights"]), float(line["bias"]))
        for name, line in about["lines"].items()
    }
    curves = {
        name: Curve(
            points=_finite(arrays[f"{name}.points"], 1),
            log_odds=_finite(arrays[f"{name}.log_odds"], 1),
            low=_finite(arrays[f"{name}.low"], 1),
            high=_finite(arrays[f"{name}.high"], 1),
            share=Share(**share),
        )
        for name, share in about["shares"].items()
    }
    model = Model(lines["alone"], curves["alone"], lines.get("both"), curves.get("both"))
    nulls = [_finite(arrays[f"null.{name}"], 1) for name in ("random", "near")]
    rate = NoiseRate(**about["rate"])
    return Calibration(tuple(spaces), model, rate, about["pairs"], about["seed"], *nulls)


def _finite(values: Any, dimensions: int) -> Any:
    if values.ndim != dimensions or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise ValueError("an array of other shape or with NaN")
    return values
