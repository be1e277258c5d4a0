"""The folder of vectors that were made for an audit: clip-retrieval's layout, and a record of how far it is.

``img_emb/img_emb_0.npy`` and ``text_emb/text_emb_0.npy`` hold float16 vectors, a row a pair, and
``metadata/metadata_0.parquet`` the id, image and caption of each row, and the hashes of its picture file; the
number counts pieces.
``problems/problems_0.parquet`` names the pairs that have no vectors, and why. ``vectors.json`` says which
model and source they are of, and where the next piece starts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.picture_hashes import COLUMNS
from robustcmr.errors import DataError, RunFolderError
from robustcmr.files import atomic_file, fitting, read_json, reason, write_json
from robustcmr.sources.clip_layout import MADE
from robustcmr.sources.records import PAIRS
from robustcmr.types import FloatArray

PROBLEMS = "problems"
"""Folder of the tables of pairs without vectors, and start of their names."""

EXAMPLES = 3
"""Pairs named for each kind of problem."""

_METADATA = pa.schema([("id", pa.string()), ("image_path", pa.string()), ("caption", pa.string()), *COLUMNS])
_PROBLEMS = pa.schema([PAIRS.field(name) for name in ("id", "image", "shard", "row", "part", "problem")])


@dataclass(frozen=True)
class Made:
    """What was made so far.

    Attributes:
        model: the identity of the model.
        source: the fingerprint of the source, its columns, and the condition on its rows.
        piece: pairs of a piece, at most, but for rows of more captions.
        pieces: finished ones.
        files: of vectors a side; pieces without a usable pair have none.
        following: shard and row where the next piece starts; None where all are finished.
        pairs: that have vectors.
        pictures: encoded; pairs of one piece share them.
        cut: captions that were longer than the model reads.
        problems: pairs without vectors, by kind.
        examples: some of them, by kind: id and reason.
    """

    model: dict[str, Any]
    source: dict[str, Any]
    piece: int
    pieces: int = 0
    files: int = 0
    following: list[int] | None = field(default_factory=lambda: [0, 0])
    pairs: int = 0
    pictures: int = 0
    cut: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether all pieces are there."""
        return self.following is None

    @property
    def says(self) -> tuple[str, ...]:
        """What was made and what was not, a sentence each."""
        found = [f"made vectors of {self.pairs:,} pairs with {self.pictures:,} pictures"]
        if self.cut:
            captions = "1 caption" if self.cut == 1 else f"{self.cut:,} captions"
            found.append(f"cut {captions} at the {self.model['limit']} tokens that the model reads")
        for kind, count in self.problems.items():
            pairs = "1 pair has" if count == 1 else f"{count:,} pairs have"
            found.append(f"{pairs} no vectors: {kind}, such as {'; '.join(self.examples[kind])}")
        return tuple(found)

    @classmethod
    def read(cls, folder: Path) -> Made | None:
        """Read the record of a folder; None where there is none.

        Raises:
            DataError: it is damaged.
        """
        path = folder / MADE
        try:
            found = read_json(path, dict[str, Any])
            fitting(
                {key: found[key] for key in ("pieces", "files", "pairs", "pictures", "cut")}, dict[str, int]
            )
            fitting(found["following"], list[int] | None)
            return cls(**found)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(
                f"cannot read {path}: {reason(error)}; make the vectors in another folder"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}); make the vectors in another folder") from error

    def write(self, folder: Path) -> None:
        """Write the record atomically."""
        write_json(folder / MADE, asdict(self))


@dataclass(frozen=True)
class Piece:
    """The vectors of some pairs.

    Attributes:
        pairs: (n,) those that have vectors, by the schema ``PAIRS``.
        hashes: (n,) of their pictures, by the schema ``COLUMNS`` of hashes.
        images: (n, D).
        texts: (n, D).
        problems: the others, by the same schema, with the reason.
        pictures: encoded.
        cut: captions that were cut.
    """

    pairs: pa.Table
    hashes: pa.Table
    images: FloatArray
    texts: FloatArray
    problems: pa.Table
    pictures: int
    cut: int


def require_own(folder: Path) -> None:
    """Refuse a folder with vectors that have no record.

    Raises:
        RunFolderError: there are such vectors, or the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; expected a folder for the vectors, such as vectors")
    for name in ("img_emb", "text_emb", "metadata"):
        if (folder / name).exists() and not (folder / MADE).exists():
            raise RunFolderError(
                f"{folder / name} is already there and was not made here; choose another folder, or use "
                "these vectors as they are"
            )


def write_piece(folder: Path, made: Made, piece: Piece, following: list[int] | None) -> Made:
    """Write a piece, each file atomically, then the record, and return that.

    Args:
        folder: of the vectors.
        made: before this piece.
        piece: what to write.
        following: shard and row where the next piece starts; None after the last.

    Raises:
        UserError: a file cannot be written.
    """
    files = made.files
    if len(piece.pairs):
        for side, vectors in (("img", piece.images), ("text", piece.texts)):
            with atomic_file(folder / f"{side}_emb" / f"{side}_emb_{files}.npy") as file:
                np.save(file, vectors.astype(np.float16))
        columns = [piece.pairs[name].combine_chunks() for name in ("id", "image", "caption")]
        table = pa.table([*columns, *piece.hashes.columns], _METADATA)
        _write_table(folder / "metadata" / f"metadata_{files}.parquet", table)
        files += 1
    problems, examples = Counter(made.problems), {kind: list(some) for kind, some in made.examples.items()}
    if len(piece.problems):
        table = piece.problems.select(_PROBLEMS.names)
        _write_table(folder / PROBLEMS / f"{PROBLEMS}_{made.pieces}.parquet", table)
        for row, words in zip(table["id"].to_pylist(), table["problem"].to_pylist(), strict=True):
            kind, _, detail = words.partition(": ")
            problems[kind] += 1
            some = examples.setdefault(kind, [])
            if len(some) < EXAMPLES:
                some.append(f"{row} ({detail})" if detail else row)
    written = replace(
        made,
        pieces=made.pieces + 1,
        files=files,
        following=following,
        pairs=made.pairs + len(piece.pairs),
        pictures=made.pictures + piece.pictures,
        cut=made.cut + piece.cut,
        problems=dict(problems),
        examples=examples,
    )
    written.write(folder)
    return written


def _write_table(path: Path, table: pa.Table) -> None:
    with atomic_file(path) as file:
        pq.write_table(table, file)
