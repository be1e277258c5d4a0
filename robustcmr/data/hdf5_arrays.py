"""Arrays of an HDF5 file, read from that file alone.

A link, external storage or a virtual dataset can make the HDF5 library open any other file, some as soon as
a shape is asked for, and a compressor that it lacks makes it load a plugin. Each is recognised by what the
file itself says, and refused before anything else is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from robustcmr.errors import DataError, some_of

MAPPED_BYTES = 64 * 2**20
"""Uncompressed arrays of at least this size stay on disk; smaller ones are loaded."""

DEEPEST = 32
"""Groups within groups; the library itself runs out of stack at some thousands."""

_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})  # of HDF5 itself, and LZF, which h5py brings
_NUMERIC = "biuf"
_SHOWN = 200  # letters of a file's name

Array = npt.NDArray[Any]


def hdf5_names(path: Path, matlab: bool) -> dict[str, str]:
    """Return the name of each array and its shape, such as ``9x5``; of links and the like, where they lead.

    MATLAB's own bookkeeping is left out, and shapes of its files are those that MATLAB shows.
    """
    with _opened(path) as file:
        found = {name: (array, elsewhere) for name, array, elsewhere in _walk(file, path)}
        return {
            name: f"({elsewhere})" if elsewhere else _shape(array, matlab)
            for name, (array, elsewhere) in found.items()
        }


def read_hdf5(path: Path, key: str, matlab: bool) -> Array:
    """Read one of ``hdf5_names``; a large array is memory-mapped if it is neither compressed nor chunked.

    Raises:
        DataError: the array is in another file, needs a plugin, was never written, holds something else than
            numbers, or exceeds the free memory.
    """
    with _opened(path) as file:
        found, elsewhere = {name: rest for name, *rest in _walk(file, path)}[key]
        if elsewhere:
            raise DataError(
                f"{key!r} of {path} is {elsewhere}; arrays are read from the file itself alone, so store "
                f"the numbers there under {key!r}, such as by h5py"
            )
        array = _numbers(path, key, found)
        offset = found.get_offset()  # None unless all of it lies in one uncompressed piece
        if offset is not None and array.nbytes >= MAPPED_BYTES and not matlab:
            return np.memmap(path, array.dtype, "r", offset, array.shape)
        free = psutil.virtual_memory().available
        if array.nbytes > free:
            raise DataError(
                f"{key!r} of {path} takes {array.nbytes / 2**30:.1f} GiB of memory, and "
                f"{free / 2**30:.1f} GiB are free; store it neither chunked nor compressed, to stay on disk"
            )
        loaded: Array = np.asarray(array[()])
    return loaded.T if matlab else loaded


def _walk(file: Any, path: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield name and ``DatasetID`` of each array, and where it is if not in this file; follow no link."""
    h5py = _h5py(path)
    root = h5py.h5g.open(file.id, b"/")
    seen = {root}

    def below(group: Any, prefix: str, depth: int) -> Iterator[tuple[str, Any, str]]:
        if depth > DEEPEST:
            raise DataError(f"{path} has groups more than {DEEPEST} deep; store its arrays further up")
        for member in group:
            name = prefix + member.decode("utf8", "surrogateescape")
            if name.startswith("#"):  # MATLAB's own bookkeeping
                continue
            kind = group.links.get_info(member).type
            if kind != h5py.h5l.TYPE_HARD:
                yield name, None, _target(h5py, group, member, kind)
                continue
            found = h5py.h5o.open(group, member)
            if isinstance(found, h5py.h5d.DatasetID):
                yield name, found, _storage(h5py, found)
            elif isinstance(found, h5py.h5g.GroupID) and found not in seen:
                seen.add(found)
                yield from below(found, f"{name}/", depth + 1)

    yield from below(root, "", 0)


def _target(h5py: ModuleType, group: Any, member: bytes, kind: int) -> str:
    """Describe a link that is not a plain name of an object."""
    if kind not in (h5py.h5l.TYPE_SOFT, h5py.h5l.TYPE_EXTERNAL):
        return f"a link of the unknown type {kind}"
    value = group.links.get_val(member)
    if kind == h5py.h5l.TYPE_SOFT:
        return f"a soft link to {_text(value)}"
    return f"an external link to {_text(value[1])} of {_text(value[0])}"


def _storage(h5py: ModuleType, found: Any) -> str:
    """Say which files hold the numbers of a dataset, empty if its own does; asks for no shape."""
    made = found.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL:
        files = {made.get_virtual_filename(i) for i in range(made.get_virtual_count())}
        return f"a virtual dataset of {some_of(sorted(map(_text, files)))}"
    files = {made.get_external(i)[0] for i in range(made.get_external_count())}
    return f"stored in {some_of(sorted(map(_text, files)))}" if files else ""


def _text(name: bytes | str) -> str:
    text = name if isinstance(name, str) else name.decode("utf8", "surrogateescape")
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _shape(found: Any, matlab: bool) -> str:
    shape = found.shape or ()
    return "x".join(map(str, shape[::-1] if matlab else shape)) or "a single value"


def _numbers(path: Path, key: str, found: Any) -> Any:
    """Return a dataset that can be read as numbers, none of which are read yet."""
    h5py = _h5py(path)
    kind = found.dtype
    if kind.kind not in _NUMERIC or found.shape is None:
        held = {"S": "text", "V": "records", "c": "complex numbers"}.get(kind.kind, "objects")
        held = "references to other objects" if h5py.check_ref_dtype(kind) else held
        held = "nothing" if found.shape is None else held
        raise DataError(f"{path} holds {held} under {key!r}; expected an array of plain numbers")
    made = found.get_create_plist()
    filters = [made.get_filter(i) for i in range(made.get_nfilters())]
    unknown = [f"{number} {_text(name)}" for number, _, _, name in filters if number not in _FILTERS]
    if unknown:
        raise DataError(
            f"{key!r} of {path} needs the HDF5 filter {some_of(unknown)}, and no plugin is loaded because a "
            "file asks for it; store it again, such as with compression='gzip' of h5py"
        )
    array = h5py.Dataset(found)
    if array.nbytes and not found.get_storage_size():
        raise DataError(f"{key!r} of {path} was never written, its storage is empty; write the file again")
    return array


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = _h5py(path).File(path, "r")
    except BlockingIOError as error:
        raise DataError(f"{path} is being written by another program; read it when that has ended") from error
    with file:
        yield file


def _h5py(path: Path) -> ModuleType:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(
            f"{path} is an HDF5 file, which needs the package h5py; install it with "
            "pip install 'robustcmr[labels]'"
        ) from error
