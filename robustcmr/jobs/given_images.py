"""Images as people give them: paths, folders, pictures, arrays and generators of these."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from robustcmr.data.base import ImageStore, LabelledSplit, PairsSplit
from robustcmr.data.picture_files import FORMATS, PictureError, open_picture, shown
from robustcmr.data.pictures import PictureProcessor
from robustcmr.data.store import NpyFeatures
from robustcmr.errors import ArgumentError, DataError
from robustcmr.jobs.given import (
    Array,
    Items,
    Stream,
    as_array,
    cut_in_parts,
    is_array,
    is_file,
    is_folder,
    kind_of,
    prepared_vectors,
    refuse_non_finite,
)
from robustcmr.runs.inputs import RunInputs
from robustcmr.types import ImageBatch, IntArray


@dataclass(frozen=True)
class ImageReader:
    """Reads images as a run's matcher takes them.

    Attributes:
        inputs: of the run.
        processor: turns pictures into pixels; None if features are read.
    """

    inputs: RunInputs
    processor: PictureProcessor | None

    def read(self, given: Any, size: int) -> Stream:
        """Return images: paths, pictures or arrays, one or many; a generator in parts of ``size``.

        Raises:
            ArgumentError: they are of a kind that the matcher does not read, or there are none.
            DataError: a file is missing or damaged.
        """
        if isinstance(given, str | os.PathLike):
            return self._from_path(Path(given))
        if isinstance(given, Image.Image):
            return self._listed([given])
        if is_array(given):
            array = as_array(given)
            if self.processor is None:
                return self._store(ArrayStore(self._features(array)), None)
            return self._listed(list(array) if array.ndim == 4 else [array])
        if isinstance(given, Sequence) and not isinstance(given, bytes | bytearray):
            if not given:
                raise ArgumentError("no images were given; give at least one")
            return self._listed(given)
        if isinstance(given, Iterable) and not isinstance(given, Mapping | bytes | bytearray):
            return cut_in_parts(given, size, "images", self._listed)
        raise ArgumentError(f"images are {kind_of(given)}; expected {self._expected_images}")

    def of_split(self, split: PairsSplit | LabelledSplit) -> Items:
        """Return the images of a split of the run's data set, prepared as that does."""
        if isinstance(split, LabelledSplit):
            names = [f"pair {row}" for row in range(len(split))]
            return self._store(split.images, names, prepared=True, picture=split.picture)
        names = list(split.image_names or [f"image {row}" for row in range(split.n_images)])
        if self.processor is None:
            if split.features is None:
                raise DataError(
                    f"the {split.name} split has pictures but no region features, which this run reads"
                )
            return self._store(split.features, names, prepared=True, picture=split.picture)
        if split.picture is None:
            raise DataError(
                f"the {split.name} split has region features but no pictures, which this run reads"
            )
        return Items(names, partial(self._pixels, split.picture, names), split.picture)

    @property
    def _expected_images(self) -> str:
        spec = self.inputs.spec
        if self.processor is not None:
            return "pictures: paths, a folder, PIL images, or uint8 arrays (H, W, 3)"
        if spec.n_regions == 1:
            return f"vectors: an array (n, {spec.feature_width}), or the path of a .npy file of one"
        shape = f"({spec.n_regions}, {spec.feature_width})"
        return (
            f"region features: an array (n, {spec.n_regions}, {spec.feature_width}), arrays {shape}, or "
            "paths of .npy files of them"
        )

    def _from_path(self, path: Path) -> Items:
        if is_folder(path):
            suffixes = {".npy"} if self.processor is None else _picture_suffixes()
            files = [
                file
                for file in sorted(path.rglob("*"))
                if file.suffix.lower() in suffixes and file.is_file() and not file.name.startswith(".")
            ]
            if not files:
                raise DataError(f"the folder {path} has no image; expected {self._expected_images}")
            return self._listed(files, folder=path)
        if self.processor is None and path.suffix == ".npy":
            store = NpyFeatures(path)
            return self._store(store, [f"{path.name}[{row}]" for row in range(store.shape[0])])
        return self._listed([path])

    def _listed(self, given: Sequence[Any], start: int = 0, folder: Path | None = None) -> Items:
        """Images one by one, numbered from ``start``; files are opened when they are read."""
        for row, item in enumerate(given, start):
            if isinstance(item, str | os.PathLike):
                if not is_file(item):
                    what = "a folder" if is_folder(item) else "not there"
                    raise DataError(f"the image file {shown(str(item), 200)} is {what}; check its path")
            elif not isinstance(item, Image.Image) and not is_array(item):
                raise ArgumentError(f"image {row} is {kind_of(item)}; expected {self._expected_images}")
        names = [_name(item, row, folder) for row, item in enumerate(given, start)]
        if self.processor is not None:
            picture = partial(_picture, given, folder)
            return Items(names, partial(self._pixels, picture, names), picture)
        return Items(names, partial(self._ragged, given, names))

    def _pixels(self, picture: Callable[[int], Any], names: Sequence[str], rows: IntArray) -> ImageBatch:
        """Pixels (k, 3, H, W) of pictures, decoded by threads."""
        processor = self.processor
        if processor is None:
            raise ValueError("pictures cannot be read without an image processor")

        def read(row: int) -> Array:
            try:
                return processor(picture(row))
            except (PictureError, OSError, SyntaxError, ValueError) as error:
                raise DataError(
                    f"cannot read the picture {shown(names[row])}: {error}; repair it, or leave it out"
                ) from error

        with ThreadPoolExecutor(min(os.cpu_count() or 1, len(rows))) as pool:
            pixels = torch.from_numpy(np.stack(list(pool.map(read, rows.tolist()))))
        return ImageBatch(pixels, torch.ones(len(pixels), 1, dtype=torch.bool))

    def _ragged(self, given: Sequence[Any], names: Sequence[str], rows: IntArray) -> ImageBatch:
        """Region features of images one by one, which may differ in their number of regions."""
        sets = []
        for row in rows.tolist():
            item = given[row]
            if isinstance(item, Image.Image):
                raise ArgumentError(f"{names[row]} is a picture; expected {self._expected_images}")
            array = _npy(Path(item), self._expected_images) if isinstance(item, str | os.PathLike) else item
            array = as_array(array)
            array = array[None] if array.ndim == 1 else array
            array = array[0] if array.ndim == 3 and len(array) == 1 else array
            self._check(array.shape, array.dtype, 2, names[row])
            sets.append(array)
        longest = max(len(array) for array in sets)
        features = np.zeros((len(sets), longest, self.inputs.spec.feature_width), np.float32)
        mask = np.zeros((len(sets), longest), np.bool_)
        for place, array in enumerate(sets):
            features[place, : len(array)], mask[place, : len(array)] = array, True
        refuse_non_finite(features, [names[row] for row in rows.tolist()])
        return ImageBatch(
            torch.from_numpy(prepared_vectors(features, self.inputs.images)), torch.from_numpy(mask)
        )

    def _features(self, array: Array) -> Array:
        """An array of many images as (n, R, F)."""
        if array.ndim == 2 and self.inputs.spec.n_regions == 1:
            array = array[:, None]
        self._check(array.shape, array.dtype, 3, "images")
        return array

    def _check(self, shape: tuple[int, ...], dtype: np.dtype[Any], ndim: int, what: str) -> None:
        """Refuse features of another shape than (..., R, F), where R is 1 for a run that reads vectors."""
        spec = self.inputs.spec
        fits = len(shape) == ndim and shape[-1] == spec.feature_width and 0 not in shape
        if not fits or (spec.n_regions == 1 and shape[-2] != 1) or dtype.kind not in "fiu":
            raise ArgumentError(f"{what}: got an array {shape} of {dtype}; expected {self._expected_images}")

    def _store(
        self,
        store: ImageStore,
        names: Sequence[str] | None,
        prepared: bool = False,
        picture: Callable[[int], Any] | None = None,
    ) -> Items:
        """Features of a store (n, R, F)."""
        self._check(store.shape, np.dtype(np.float32), 3, "images" if names is None else names[0])
        named = [f"image {row}" for row in range(store.shape[0])] if names is None else names
        preparation = None if prepared else self.inputs.images

        def batch(rows: IntArray) -> ImageBatch:
            features = store.take(rows)
            refuse_non_finite(features, [named[row] for row in rows.tolist()])
            features = prepared_vectors(features, preparation)
            return ImageBatch(torch.from_numpy(features), torch.ones(features.shape[:2], dtype=torch.bool))

        return Items(named, batch, picture)


@dataclass(frozen=True)
class ArrayStore:
    """Region features of an array (n, R, F) in memory or a memory map."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, R, F)."""
        return self.array.shape

    def take(self, images: IntArray) -> npt.NDArray[np.float32]:
        """Return some images, (k, R, F) float32."""
        with np.errstate(over="ignore"):  # too large for float32: infinite, which is reported later
            return np.asarray(self.array[images]).astype(np.float32, copy=False)


def _picture_suffixes() -> set[str]:
    return {suffix for suffix, form in Image.registered_extensions().items() if form in FORMATS}


def _picture(given: Sequence[Any], folder: Path | None, row: int) -> Image.Image:
    """A picture, a file that was named itself, or one of a folder, which links must not leave."""
    item = given[row]
    if isinstance(item, Image.Image):
        return item
    if is_array(item):
        array = as_array(item)
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            raise ValueError(f"an array {array.shape} of {array.dtype}, expected uint8 (H, W, 3)")
        return Image.fromarray(array)
    if folder is not None:
        return open_picture(folder.resolve(), Path(item).relative_to(folder).as_posix())
    real = Path(item).resolve()
    return open_picture(real.parent, real.name)


def _npy(path: Path, expected: str) -> Array:
    if path.suffix != ".npy":
        raise ArgumentError(f"{path} is no .npy file, and this run reads {expected}")
    store = NpyFeatures(path)
    return store.take(np.arange(store.shape[0], dtype=np.int64)).squeeze()


def _name(item: Any, row: int, folder: Path | None) -> str:
    if folder is not None:
        return Path(item).relative_to(folder).as_posix()
    if isinstance(item, str | os.PathLike):
        return os.fspath(item)
    return str(getattr(item, "filename", "") or f"image {row}")
