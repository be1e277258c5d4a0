"""``inputs.json``: how a run's matcher reads images and captions, so that new ones need no training data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, Len
from pydantic import AfterValidator, AllowInfNan
from typing_extensions import TypedDict

from robustcmr.errors import RunFolderError
from robustcmr.files import read_json, reason, write_json
from robustcmr.runs.schemas import Count
from robustcmr.types import DataSpec

Finite = Annotated[float, AllowInfNan(False)]


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


@dataclass(frozen=True)
class RunInputs:
    """Inputs of a run.

    Attributes:
        spec: what the matcher was built from; its words are in ``vocabulary.json``.
        words: whether captions are read word by word; False if only vectors of the texts exist.
        images: preparation of image vectors; None for features that are read as they are.
        texts: the same of text vectors.
    """

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
            tree = read_json(path, _Inputs)
        except OSError as error:
            raise RunFolderError(f"cannot read {path}: {reason(error)}; copy it again") from error
        except ValueError as error:
            raise RunFolderError(
                f"{path} is damaged: {error}; expected the inputs.json that training wrote, so copy it again"
            ) from error
        spec = {name: tree["spec"][name] for name in _Spec.__annotations__}
        size = spec.pop("picture_size")
        return cls(
            DataSpec(**spec, picture_size=None if size is None else tuple(size)),
            tree["words"],
            _preparation(tree["images"]),
            _preparation(tree["texts"]),
        )


def _preparation(tree: dict[str, Any] | None) -> Preparation | None:
    if tree is None:
        return None
    return Preparation(tuple(tree["mean"]), tuple(tree["deviation"]), tree["normalise"])


class _Spec(TypedDict):
    feature_width: Count
    n_regions: Count
    vocabulary_size: Count
    longest_caption: Count
    padding_index: Count
    unknown_index: Count
    picture_size: Annotated[list[Annotated[int, Gt(0)]], Len(2, 2)] | None
    text_width: Count | None


class _Statistics(TypedDict):
    mean: list[Finite]
    deviation: list[Annotated[Finite, Gt(0)]]
    normalise: bool


def _as_long(found: Any) -> Any:
    """Refuse statistics of different widths."""
    if len(found["mean"]) != len(found["deviation"]):
        raise ValueError(f"{len(found['mean'])} means and {len(found['deviation'])} deviations")
    return found


_Prepared = Annotated[_Statistics, AfterValidator(_as_long)] | None


class _Inputs(TypedDict):
    spec: _Spec
    words: bool
    images: _Prepared
    texts: _Prepared
