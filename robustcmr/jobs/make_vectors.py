"""Make the vectors of somebody's own pairs, piece by piece; the same call resumes what was stopped."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.audit.picture_hashes import COLUMNS, content_hash, difference_hash
from robustcmr.data.picture_files import PictureError, decode_picture
from robustcmr.errors import ArgumentError, DataError, RunFolderError
from robustcmr.jobs.made_vectors import Made, Piece, require_own, write_piece
from robustcmr.jobs.pair_encoders import PairEncoder, open_encoder
from robustcmr.locks import sole_user
from robustcmr.sources.fingerprint import changed, fingerprint
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import PAIRS, Picture, Source
from robustcmr.types import FloatArray, IntArray

PIECE = 8192
"""Pairs of a piece by default; what is lost when the process is stopped is less than one."""

NO_PICTURE = "missing picture"
UNREADABLE = "unreadable picture"
EMPTY = "empty caption"

logger = logging.getLogger("robustcmr")

Progress = Callable[[int], None]
T = TypeVar("T")


def make_vectors(
    source: Source,
    *,
    output: Path,
    model: str | None = None,
    run: Path | None = None,
    where: str | None = None,
    batch_size: int = 64,
    device: str = "auto",
    checkpoint: str = "best",
    trusted: bool = False,
    piece: int = PIECE,
    progress: Progress | None = None,
) -> Path:
    """Encode pictures and captions, and write the vectors in clip-retrieval's layout.

    A pair whose picture cannot be read, or whose caption is empty, has no vectors; ``problems`` in the folder
    names it. Pairs of a piece that have the same picture or caption share the work, not the rows. Vectors of
    a model have unit length; those of a run are such that their products are its scores.

    Args:
        source: the pairs.
        output: folder that receives the vectors; those of a call that was stopped are completed.
        model: local folder or hub name of a CLIP or SigLIP model.
        run: folder of a trained run, instead of a model.
        where: SQL condition on the rows of the source.
        batch_size: pictures or captions encoded at once, >= 1.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        checkpoint: of a run, ``best`` or ``last``.
        trusted: import the ``package.module:Class`` that a run names, even if it was not trained here.
        piece: pairs of a piece, each of which is a checkpoint, >= 1; a folder goes on with its own number.
        progress: called with the number of pairs whose pictures have just been encoded, and at once with
            those that were made before.

    Returns:
        The folder, as :func:`robustcmr.sources.vectors.open_vectors` opens it.

    Raises:
        ArgumentError: a model and a run are given, or neither, or a number is out of its range.
        UserError: the model cannot be opened, the folder holds vectors of another model or source or is in
            use, or no pair can be encoded.
    """
    for name, value in (("batch_size", batch_size), ("piece", piece)):
        if value < 1:
            raise ArgumentError(f"{name} is {value}; expected at least 1")
    require_own(output)
    encoder = open_encoder(model, run, device, checkpoint, trusted)
    work = _Work(source, encoder, batch_size, progress or (lambda _: None))
    with sole_user(output / ".lock", f"the folder of vectors {output}"):
        made = _begun(output, source, encoder, where, piece)
        if made.pieces:
            what = "are complete" if made.finished else f"go on after {made.pairs:,} pairs"
            logger.info("the vectors in %s %s", output, what)
            work.progress(made.pairs + sum(made.problems.values()))
        if made.following is not None:
            logger.info("making vectors by %s", encoder.name)
            for table, following in _pieces(source, made.following, where, made.piece):
                made = write_piece(output, made, work.encode(table), following)
    for sentence in made.says:
        logger.info("%s", sentence)
    if not made.pairs:
        why = "; ".join(made.says[1:]) or "it has no rows"
        raise DataError(f"no pair of {source.root} can be encoded: {why}")
    return output


def _begun(output: Path, source: Source, encoder: PairEncoder, where: str | None, piece: int) -> Made:
    """The record of the folder, a new one if it is empty; refuse one of something else."""
    identity = {**encoder.identity, "limit": encoder.limit}
    made = Made.read(output)
    if made is None:
        about = {"fingerprint": fingerprint(source), "columns": asdict(source.columns), "where": where}
        made = Made(identity, about, piece)
        made.write(output)
        return made
    other = None
    if {**made.model, "name": None} != {**identity, "name": None}:
        other = (
            f"they were made by {made.model.get('name')}, or by other weights of it, not by {encoder.name}"
        )
    elif (change := changed(source, made.source["fingerprint"])) is not None:
        other = f"they are of another source: {change}"
    elif (made.source["columns"], made.source["where"]) != (asdict(source.columns), where):
        other = "they are of other columns or another condition on the rows"
    if other is not None:
        raise RunFolderError(f"{output} holds vectors already, but {other}; choose another folder")
    return made


def _pieces(
    source: Source, start: Sequence[int], where: str | None, size: int
) -> Iterator[tuple[pa.Table, list[int] | None]]:
    """Yield the pairs of each piece, and the shard and row where the next starts, None after the last.

    A piece ends with a row of the source. It may reach over several shards, and has more pairs only if a
    single row has.
    """
    held = pa.Table.from_batches([], PAIRS)
    for shard in source.shards[start[0] :]:
        for batch in pairs(source, shard, start[1] if shard.number == start[0] else 0, where):
            held = pa.concat_tables([held, pa.Table.from_batches([batch.select(PAIRS.names)])])
            while len(held) > size and (end := _row_end(held, size)) is not None:
                following = held.slice(end, 1)
                yield held.slice(0, end), [following["shard"][0].as_py(), following["row"][0].as_py()]
                held = held.slice(end)
    yield held, None


def _row_end(held: pa.Table, size: int) -> int | None:
    """Where the last row of the source that fits in a piece ends; None if the table has only one row."""
    places = np.stack([held["shard"].to_numpy(), held["row"].to_numpy()])
    ends = np.flatnonzero((places[:, 1:] != places[:, :-1]).any(0)) + 1
    if not len(ends):
        return None
    fitting = ends[ends <= size]
    return int(fitting[-1] if len(fitting) else ends[0])


class _Work:
    """Encodes the pairs of a piece."""

    def __init__(self, source: Source, encoder: PairEncoder, batch_size: int, progress: Progress) -> None:
        self._source, self._encoder = source, encoder
        self._batch_size, self.progress = batch_size, progress

    def encode(self, table: pa.Table) -> Piece:
        """Encode pairs of the schema ``PAIRS``."""
        captions = ["" if text is None else text for text in table["caption"].to_pylist()]
        problems = table["problem"].to_pylist()
        problems = [
            words or (None if text.strip() else EMPTY) for words, text in zip(problems, captions, strict=True)
        ]
        sound = np.flatnonzero([words is None for words in problems])
        self.progress(len(table) - len(sound))
        pictures, of = self._pictures(table, sound)  # (m,) first pair of each picture, (k,) picture of each
        vectors, hashes, failed = self._images(table, pictures, np.bincount(of, minlength=len(pictures)))
        for pair, picture in zip(sound.tolist(), of.tolist(), strict=True):
            problems[pair] = failed.get(picture)
        good = np.array([problems[pair] is None for pair in sound.tolist()], np.bool_)
        kept = sound[good]
        texts, cut = self._texts([captions[pair] for pair in kept.tolist()])
        named = table.set_column(PAIRS.get_field_index("problem"), "problem", pa.array(problems, pa.string()))
        return Piece(
            table.take(pa.array(kept)),
            hashes.take(pa.array(of[good])),
            vectors[of[good]] if len(kept) else texts,
            texts,
            named.filter(named["problem"].is_valid()),
            len(pictures) - len(failed),
            cut,
        )

    def _pictures(self, table: pa.Table, sound: IntArray) -> tuple[IntArray, IntArray]:
        """The first of the sound pairs with each picture, and the picture of each sound pair."""
        images = table["image"].to_pylist()
        shards, rows = table["shard"].to_pylist(), table["row"].to_pylist()
        firsts: dict[Any, int] = {}
        of = np.empty(len(sound), np.int64)
        first: list[int] = []
        for place, pair in enumerate(sound.tolist()):
            key = (shards[pair], rows[pair]) if images[pair] is None else images[pair]
            if key not in firsts:
                firsts[key] = len(first)
                first.append(pair)
            of[place] = firsts[key]
        return np.array(first, np.int64), of

    def _images(
        self, table: pa.Table, pictures: IntArray, counts: IntArray
    ) -> tuple[FloatArray, pa.Table, dict[int, str]]:
        """Vectors (m, D) and hashes (m,) of pictures, and why some have none.

        ``counts`` are the pairs of each (m,).
        """
        found: list[tuple[IntArray, FloatArray]] = []
        failed: dict[int, str] = {}
        hashes: list[dict[str, int | None]] = [{}] * len(pictures)
        numbered = enumerate(self._files(table, pictures))
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for batch in _batches(numbered, self._batch_size):
                prepared = list(pool.map(self._prepared, [picture for _, picture in batch]))
                good = [place for place, made in enumerate(prepared) if not isinstance(made, str)]
                for (number, _), made in zip(batch, prepared, strict=True):
                    if isinstance(made, str):
                        failed[number] = made
                    else:
                        hashes[number] = made[1]
                if good:
                    numbers = np.array([batch[place][0] for place in good], np.int64)
                    found.append((numbers, self._encoder.images([prepared[place][0] for place in good])))
                self.progress(int(counts[[number for number, _ in batch]].sum()))
        vectors = np.zeros((len(pictures), found[0][1].shape[1] if found else 0), np.float32)
        for numbers, part in found:
            vectors[numbers] = part
        return vectors, pa.Table.from_pylist(hashes, COLUMNS), failed

    def _files(self, table: pa.Table, pictures: IntArray) -> Iterator[Picture]:
        """The picture file of each of some pairs, in order; a source that leaves one out has a problem."""
        shards = table["shard"].to_numpy()[pictures]
        rows = table["row"].to_numpy()[pictures]
        for number in np.unique(shards).tolist():
            wanted: npt.NDArray[np.int64] = rows[shards == number]
            given = self._source.pictures(self._source.shards[number], wanted)
            picture = next(given, None)
            for row in wanted.tolist():
                if picture is not None and picture.row == row:
                    yield picture
                    picture = next(given, None)
                else:
                    yield Picture(row, None, NO_PICTURE)

    def _prepared(self, picture: Picture) -> tuple[Any, dict[str, int | None]] | str:
        """A picture as the encoder takes it, and its hashes; or why it cannot be read."""
        if picture.data is None:
            return picture.problem or NO_PICTURE
        try:
            decoded = decode_picture(picture.data)
            hashes = {
                "picture_hash": content_hash(picture.data),
                "difference_hash": difference_hash(decoded),
            }
            return self._encoder.prepare(decoded), hashes
        except (PictureError, OSError, SyntaxError, ValueError) as error:  # the last three by the processor
            reason, _, _ = str(error).partition("; ")  # the rest advises on options of training
            return f"{UNREADABLE}: {reason}"

    def _texts(self, captions: Sequence[str]) -> tuple[FloatArray, int]:
        """Vectors of captions (k, D), and how many of them were cut; equal captions are encoded once."""
        distinct = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
        of = np.array([distinct[caption] for caption in captions], np.int64)
        parts = [self._encoder.texts(batch) for batch in _batches(distinct, self._batch_size)]
        if not parts:
            return np.empty((0, 0), np.float32), 0
        cut = np.array([self._encoder.is_cut(caption) for caption in distinct])
        return np.concatenate(parts)[of], int(cut[of].sum())


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
