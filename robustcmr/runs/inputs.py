"""``inputs.json``: how a run's matcher reads images and captions, so that new ones need no training data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustcmr.errors import RunFolderError
from robustcmr.files import write_json
from robustcmr.types import DataSpec


@dataclass(frozen=True)
class Preparation:
    """How vectors of F numbers are prepared: standardised, then normalised to length 1.

    Attributes:
        mean: F means to subtract; empty where vectors are not standardised.
        deviation: F standard deviations > 0 to divide by; empty likewise.
        normalise: whether the length becomes 1.
    """

    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    normalise: bool = False

    def __post_init__(self) -> None:
        numbers = np.array(
            [self.mean, self.deviation], dtype=np.float64
        )  # ValueError if they differ in length
        if not (np.isfinite(numbers).all() and (numbers[1] > 0).all()):
            raise ValueError("means must be finite and deviations finite and positive")


@dataclass(frozen=True)
class RunInputs:
    """Inputs of a run.

    Attributes:
        track: ``pairs`` or ``labels``.
        spec: what the matcher was built from; its words are in ``vocabulary.json``.
        words: whether captions are read word by word; False if only vectors of the texts exist.
        images: preparation of image vectors; None for features that are read as they are.
        texts: the same of text vectors.
    """

    track: str
    spec: DataSpec
    words: bool
    images: Preparation | None = None
    texts: Preparation | None = None

    def write(self, path: Path) -> None:
        """Write ``inputs.json`` atomically.

        Raises:
            UserError: it cannot be written.
        """
        tree = dataclasses.asdict(self)
        del tree["spec"]["words"]
        write_json(path, tree)

    @classmethod
    def read(cls, path: Path) -> RunInputs:
        """Read a file from :meth:`write`.

        Raises:
            RunFolderError: it is missing or damaged.
        """
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunFolderError(f"cannot read {path}: {error.strerror or error}; copy it again") from error
        except ValueError as error:
            raise RunFolderError(f"{path} is damaged: {error}; copy it again") from error
        try:
            return _of_tree(tree)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RunFolderError(
                f"{path} is damaged: {error}; expected the inputs.json that training wrote, so copy it again"
            ) from error


def _of_tree(tree: Any) -> RunInputs:
    spec = dict(tree["spec"])
    size = spec.pop("picture_size")
    known = {field.name for field in dataclasses.fields(DataSpec)} - {"words", "picture_size"}
    for name in sorted(known):
        if spec[name] is not None and (type(spec[name]) is not int or spec[name] < 0):
            raise ValueError(f"spec.{name} is {spec[name]!r}, expected a whole number from 0")
    if size is not None and not (len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        raise ValueError(f"spec.picture_size is {size!r}, expected height and width")
    if tree["track"] not in ("pairs", "labels") or type(tree["words"]) is not bool:
        raise ValueError("expected the track pairs or labels, and words true or false")
    return RunInputs(
        track=tree["track"],
        spec=DataSpec(
            **{name: spec[name] for name in known}, picture_size=None if size is None else tuple(size)
        ),
        words=tree["words"],
        images=_preparation(tree["images"]),
        texts=_preparation(tree["texts"]),
    )


def _preparation(tree: Mapping[str, Any] | None) -> Preparation | None:
    if tree is None:
        return None
    return Preparation(tuple(tree["mean"]), tuple(tree["deviation"]), bool(tree["normalise"]))
