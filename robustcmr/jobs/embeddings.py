"""Vectors of many images or captions, in memory or in a folder that is filled as they come."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NotRequired, overload

import numpy as np
from annotated_types import Ge, Len
from typing_extensions import TypedDict

from noise_injection.reading import npy_header
from robustcmr.errors import DataError, RunFolderError
from robustcmr.files import atomic_file, read_json, reason, regular_file, write_json
from robustcmr.types import FloatArray, Fragments, IntArray

Kind = Literal["images", "texts"]

INDEXED = 1_000_000
"""Vectors above which faiss, if installed, searches an index instead of all products."""

_BLOCK = 1 << 16  # vectors multiplied at once
_BYTES = "surrogateescape"  # file names that are not UTF-8 are kept
_PROBES = 64  # lists of the index that a search visits


@dataclass(frozen=True)
class Embeddings:
    """Images or captions as one vector each, and what their exact scores take.

    Attributes:
        kind: ``images`` or ``texts``.
        vectors: (n, D) float32. Where the matcher scores by one vector a side, the products of image and text
            vectors are its scores; otherwise they find candidates, which the matcher then scores.
        names: file names of images, or the captions.
        model: identifies the weights that made them.
        fragments: encodes rows (k,) again for exact scores, one result a matcher; None where products of
            vectors are the scores, or the items came as a stream that cannot be read again.
        beside: what is known to belong to an item: captions of an image, or the image name of a caption.
        picture: loads the picture of an item; None where there is none.
    """

    kind: Kind
    vectors: FloatArray
    names: Sequence[str] = field(repr=False)
    model: str
    fragments: Callable[[IntArray], tuple[Fragments, ...]] | None = field(default=None, repr=False)
    beside: Callable[[int], Sequence[str]] | None = field(default=None, repr=False)
    picture: Callable[[int], Any] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        n, width = self.vectors.shape
        return f"<Embeddings of {n:,} {self.kind}: vectors ({n}, {width}) float32>"

    def nearest(self, query: FloatArray, k: int) -> tuple[IntArray, FloatArray, str]:
        """Return the k rows with the largest product with a vector (D,), best first, ties in order.

        Returns:
            Rows (k,), products (k,), and how they were found: ``vectors`` or ``faiss``.
        """
        k = min(k, len(self))
        if len(self) > INDEXED and find_spec("faiss") is not None:
            products, rows = self._index.search(np.ascontiguousarray(query[None], np.float32), k)
            there = rows[0] >= 0
            return rows[0][there].astype(np.int64), products[0][there], "faiss"
        best, scores = np.empty(0, np.int64), np.empty(0, np.float32)
        for start in range(0, len(self), _BLOCK):
            block = self.vectors[start : start + _BLOCK] @ query  # (b,)
            scores = np.concatenate([scores, block])
            best = np.concatenate([best, np.arange(start, start + len(block), dtype=np.int64)])
            if len(scores) > k:
                kept = np.sort(np.argpartition(-scores, k - 1)[:k])
                scores, best = scores[kept], best[kept]
        order = np.lexsort((best, -scores))
        return best[order], scores[order], "vectors"

    @cached_property
    def _index(self) -> Any:
        """An inverted index of faiss: exact products of the vectors in the lists it visits."""
        faiss: Any = importlib.import_module("faiss")
        n, width = self.vectors.shape
        lists = int(4 * n**0.5)
        index = faiss.index_factory(width, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(0).choice(n, min(n, 40 * lists), replace=False)
        index.train(np.ascontiguousarray(self.vectors[np.sort(sample)], np.float32))
        for start in range(0, n, _BLOCK):
            index.add(np.ascontiguousarray(self.vectors[start : start + _BLOCK], np.float32))
        index.nprobe = min(_PROBES, lists)
        return index


class Lines(Sequence[str]):
    """Lines of a UTF-8 file, read when they are requested; one number a line is in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        ends, position = [np.zeros(1, np.int64)], 0
        with regular_file(path) as file:
            while block := file.read(1 << 20):
                ends.append(np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + position + 1)
                position += len(block)
        self._starts = np.concatenate(ends)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[str]:
        with self._path.open(encoding="utf-8", errors=_BYTES, newline="\n") as file:
            yield from (line.removesuffix("\n") for line in file)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]  # IndexError outside
        with self._path.open("rb") as file:
            file.seek(int(self._starts[row]))
            line = file.read(int(self._starts[row + 1] - self._starts[row]))
        return line.decode("utf-8", _BYTES).removesuffix("\n")


class VectorWriter:
    """Writes vectors and names of one side into a folder as they come.

    ``texts.npy`` (n, D) float32 and ``texts.txt``, a name a line; ``texts.json``, written last, describes
    them. The same with ``images``.

    Args:
        folder: created if missing.
        kind: ``images`` or ``texts``.
        overwrite: replace vectors of this kind that are already there.

    Raises:
        RunFolderError: there are such vectors, or the folder is a file.
        UserError: a file cannot be written.
    """

    def __init__(self, folder: Path, kind: Kind, overwrite: bool = False) -> None:
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; expected a folder for the vectors, such as vectors")
        self.path = {ending: folder / f"{kind}.{ending}" for ending in ("npy", "txt", "json")}
        there = [path for path in self.path.values() if path.exists()]
        if there and not overwrite:
            raise RunFolderError(
                f"{there[0]} is already there; choose another folder, or replace it with overwrite"
            )
        self.folder, self.kind = folder, kind

    def write(self, parts: Iterator[tuple[FloatArray, Sequence[str]]], about: dict[str, Any]) -> None:
        """Write all parts: vectors (b, D) with their names; ``about`` is added to the description."""
        count, width = 0, 0
        with atomic_file(self.path["npy"]) as numbers, atomic_file(self.path["txt"]) as names:
            for vectors, named in parts:
                if not count:
                    width = vectors.shape[1]
                    _write_header(numbers, 0, width)
                numbers.write(np.ascontiguousarray(vectors, "<f4").tobytes())
                names.write("".join(f"{' '.join(name.split())}\n" for name in named).encode("utf-8", _BYTES))
                count += len(vectors)
            numbers.seek(0)
            _write_header(numbers, count, width)
            numbers.seek(0, io.SEEK_END)
            self.path["json"].unlink(missing_ok=True)  # files that are half replaced are not taken for whole
        write_json(self.path["json"], {"kind": self.kind, "count": count, "width": width, **about})


def _write_header(file: BinaryIO, count: int, width: int) -> None:
    """Write the header of a ``.npy`` file; NumPy pads it, so that a growing number of rows fits."""
    shape = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(file, shape)


def read_vectors(folder: Path, kind: Kind) -> tuple[FloatArray, Lines, dict[str, Any]]:
    """Open what :class:`VectorWriter` wrote; the vectors stay on disk.

    Raises:
        DataError: a file is missing or damaged.
    """
    path = folder / f"{kind}.npy"
    try:
        about = read_json(folder / f"{kind}.json", _About)
        with regular_file(path) as file:
            shape, fortran, dtype = npy_header(file)
            offset = file.tell()
        names = Lines(folder / f"{kind}.txt")
        stated = (about["kind"], (about["count"], about["width"]), about["count"])
        if stated != (kind, shape, len(names)) or fortran or dtype != np.dtype("<f4"):
            raise ValueError("its files do not belong together")
        vectors = np.memmap(path, "<f4", "r", offset, shape)  # ValueError if the file is shorter
    except OSError as error:
        raise DataError(f"cannot read the {kind} in {folder}: {reason(error)}; embed them again") from error
    except ValueError as error:
        raise DataError(f"cannot read the {kind} in {folder}: {error}; embed them again") from error
    return vectors, names, about


class _About(TypedDict):
    kind: Kind
    count: Annotated[int, Ge(1)]
    width: Annotated[int, Ge(1)]
    model: str
    run: NotRequired[str]
    source: NotRequired[str]
    changed: NotRequired[Annotated[list[int], Len(2, 2)] | None]
