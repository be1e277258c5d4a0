"""Files of a source: listed below folders, checked before they are opened, and their copies."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from robustcmr.errors import DataError, some_of
from robustcmr.files import check_kind, reason, regular_file
from robustcmr.sources.records import PROBLEM, Shard, Source


def files_below(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    """Return the files given and those of these suffixes below the folders given, each once.

    Files of a folder come in the order of their names, numbers in them by value, so that ``part-2`` comes
    before ``part-10``. Hidden files and folders, and those that start with ``_``, are left out, as writers of
    tables use them for their own notes.
    """
    found: dict[Path, None] = {}
    for path in paths:
        for file in _below(path, tuple(suffixes)) if path.is_dir() else [path]:
            found.setdefault(file)
    return list(found)


def _below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    files = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        files += [
            Path(base, name)
            for name in names
            if name.lower().endswith(suffixes) and not name.startswith((".", "_"))
        ]
    return sorted(files, key=lambda file: natural(str(file.relative_to(folder))))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names with numbers in them by the value of those numbers.

    Example:
        >>> sorted(["part-10", "part-2"], key=natural)
        ['part-2', 'part-10']
    """
    parts: list[tuple[int, int, str]] = []
    text = ""
    digits = ""
    for letter in f"{name}\0":
        if letter.isascii() and letter.isdigit():
            digits += letter
            continue
        if digits:
            parts += [(1, 0, text), (0, int(digits), digits)]
            text, digits = "", ""
        text += letter
    return (*parts, (1, 0, text))


def root_of(paths: Sequence[Path], files: Sequence[Path]) -> Path:
    """Return the folder that holds all files, or the file where it is the only one given."""
    if len(paths) == 1:
        return paths[0]
    return Path(os.path.commonpath([file.absolute().parent for file in files]))


def make_shards(files: Sequence[Path], rows: Sequence[int | None]) -> tuple[Shard, ...]:
    """Return the shards of files that exist, in order."""
    return tuple(
        Shard(number, file, count, size_of(file))
        for number, (file, count) in enumerate(zip(files, rows, strict=True))
    )


def size_of(path: Path) -> int:
    """Return the bytes of a regular file; raise DataError for what is none or empty."""
    try:
        found = path.stat()
        check_kind(found)
        if path.is_dir():
            raise DataError(f"{path} is a folder, expected a file; name the file")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise DataError(f"cannot read {path}: {why}") from error
    if found.st_size == 0:
        raise DataError(f"{path} is empty, expected a file with rows; write it again, or leave it out")
    return found.st_size


def starts(path: Path, count: int) -> bytes:
    """Return the first bytes of a file; none where it cannot be read."""
    try:
        with regular_file(path) as file:
            return file.read(count)
    except OSError:
        return b""


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn errors of the file system and of Arrow into DataError with the file's name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise DataError(f"cannot read {path}: {reason(error)}") from error
        raise _damaged(path, what, error) from error
    except (pa.ArrowException, EOFError) as error:
        raise _damaged(path, what, error) from error


def _damaged(path: Path, what: str, error: BaseException) -> DataError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
    return DataError(f"{path} cannot be read as {what} ({first}); write or copy it again, or leave it out")


def check_columns(first: Path, schema: pa.Schema, other: Path, found: pa.Schema) -> None:
    """Raise DataError where a file has other columns than the first of its source."""
    if set(schema.names) == set(found.names):
        return
    lacks = [name for name in schema.names if name not in found.names]
    more = [name for name in found.names if name not in schema.names]
    said = " and ".join(
        f"{word} {some_of(names)}" for word, names in (("lacks", lacks), ("also has", more)) if names
    )
    raise DataError(
        f"{other} has other columns than {first}: it {said}; give files of the same columns, the others apart"
    )


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise DataError where two columns have one name, or one has a name with a meaning of its own."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(
            f"{path} has {names.count(twice[0])} columns named {twice[0]!r}, expected a name for "
            "each; rename all but one"
        )
    if PROBLEM in names:
        raise DataError(f"{path} has a column named {PROBLEM!r}, which is kept for damaged rows; rename it")


def below_root(source: Source, shard: Shard) -> Path:
    """Return the path of a shard below the root of its source; its name where it is the root."""
    root, path = source.root.absolute(), shard.path.absolute()
    return Path(path.name) if path == root else path.relative_to(root)


def copy_path(source: Source, shard: Shard, to: Path) -> Path:
    """Return where the copy of a shard goes; raise DataError where that is a file of the source."""
    path = to / below_root(source, shard)
    if path.exists() and any(_same(path, other.path) for other in source.shards):
        raise DataError(f"{path} is a file of the source itself; write to another folder than {to}")
    return path


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def stem_of(source: Source, shard: Shard) -> str:
    """Return what starts the ids made for rows of a shard: its name, or its path if names repeat."""
    path = below_root(source, shard)
    name = _stem(path)
    twins = sum(1 for other in source.shards if _stem(other.path) == name)
    stem = name if twins == 1 else path.with_suffix("").as_posix()
    return stem.encode("utf-8", "backslashreplace").decode()  # a name may hold bytes that are not UTF-8


def _stem(path: Path) -> str:
    return path.name.partition(".")[0] or path.name
