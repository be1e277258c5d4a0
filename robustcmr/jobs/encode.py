"""Embed, score and search images and captions with the model of a trained run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import psutil
import torch
from torch import Tensor

from robustcmr.data.base import DataSet
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import ArgumentError, DataError, UserError
from robustcmr.evaluation.candidate_search import search_vectors
from robustcmr.evaluation.scoring import score_matrix
from robustcmr.jobs.embeddings import Embeddings, Kind, VectorWriter, read_vectors
from robustcmr.jobs.given import Items, Stream, is_file
from robustcmr.jobs.model import Model
from robustcmr.types import FloatArray, Fragments, IntArray

_SCORED_AT_ONCE = 2048  # items of either side whose fragments are in memory during exact scoring


class Encoder:
    """Embeds, scores and searches with a model.

    Args:
        model: of a run.
        batch_size: images or captions encoded at once, >= 1.
    """

    def __init__(self, model: Model, batch_size: int) -> None:
        self.model, self.batch_size = model, batch_size

    def embed(
        self,
        kind: Kind,
        given: Any,
        output: Path | None = None,
        overwrite: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Embeddings:
        """Embed images or captions of any kind that :class:`ImageReader` or :class:`CaptionReader` reads.

        Args:
            kind: ``images`` or ``texts``.
            given: what to embed; embeddings are returned as they are, and a folder written with ``output`` is
                opened.
            output: folder that receives the vectors as they come, so that memory does not grow with their
                number; None keeps them in memory.
            overwrite: replace vectors of this kind in that folder.
            progress: called with the number of items of every batch.

        Raises:
            UserError: the items are of the wrong kind or damaged, or were embedded by another model.
        """
        if isinstance(given, Embeddings):
            return self._own(given, kind)
        saved = self._saved(kind, given)
        if saved is not None:
            return saved
        writer = None if output is None else VectorWriter(output, kind, overwrite)
        stream = self._read(kind, given)
        if writer is None:
            return self.embed_items(kind, stream, progress)
        parts = (
            (self._joined(sides), [items.names[row] for row in rows.tolist()])
            for items, rows, sides in self._encoded(stream, progress)
        )
        about: dict[str, Any] = {"model": self.model.fingerprint, "run": _quoted(self.model.path)}
        if kind == "images" and isinstance(given, str | Path):
            about |= {"source": _quoted(Path(given)), "changed": _changed(Path(given))}
        writer.write(parts, about)
        return self._opened(kind, writer.folder, stream if isinstance(stream, Items) else None)

    def embed_items(
        self, kind: Kind, stream: Stream, progress: Callable[[int], None] | None = None
    ) -> Embeddings:
        """Embed items in memory; a matcher that compares fragments keeps these too."""
        vectors: list[FloatArray] = []
        names: list[str] = []
        kept: list[list[Fragments]] = [[] for _ in self.model.matchers]
        for items, rows, sides in self._encoded(stream, progress):
            vectors.append(self._joined(sides))
            if items is not stream:
                names += [items.names[row] for row in rows.tolist()]
            if not self.model.by_vectors:
                for parts, side in zip(kept, sides, strict=True):
                    parts.append(side)
        held = tuple(Fragments.concatenate(parts) for parts in kept) if not self.model.by_vectors else ()
        return Embeddings(
            kind,
            np.concatenate(vectors),
            stream.names if isinstance(stream, Items) else names,
            self.model.fingerprint,
            (lambda rows: tuple(side[torch.from_numpy(rows)] for side in held)) if held else None,
            picture=stream.picture if isinstance(stream, Items) else None,
        )

    def score(self, images: Embeddings, texts: Embeddings) -> FloatArray:
        """Score every image with every caption, (n_images, n_texts) float32.

        Raises:
            ArgumentError: the matrix does not fit in memory, or exact scores need items that are gone.
            DataError: a score is NaN or infinite.
        """
        size = 4 * len(images) * len(texts)
        if size > psutil.virtual_memory().available:
            raise ArgumentError(
                f"scores of {len(images):,} images with {len(texts):,} captions take {size / 2**30:,.1f} GiB "
                "and do not fit in memory; score parts, or search for the best"
            )
        if self.model.by_vectors:
            return _finite(images.vectors @ texts.vectors.T)
        scores = np.empty((len(images), len(texts)), np.float32)
        for columns in _blocks(len(texts)):
            some_texts = _fragments(texts, columns)
            for rows in _blocks(len(images)):
                scores[rows[:, None], columns] = self._exact(_fragments(images, rows), some_texts)
        return _finite(scores)

    def search(
        self, query: Embeddings, gallery: Embeddings, k: int, shortlist: int
    ) -> tuple[IntArray, FloatArray, str]:
        """Find the k items of a gallery that score best with one query of the other kind.

        A matcher without one vector a side scores the ``shortlist`` items whose vectors are nearest, or all
        if there are no more.

        Returns:
            Rows (k,), scores (k,), best first, and how they were found: ``vectors``, ``faiss``, ``shortlist``
            or ``all``.
        """
        if self.model.by_vectors:
            rows, scores, how = gallery.nearest(query.vectors[0], k)
            return rows, _finite(scores), how
        rows, how = np.arange(len(gallery), dtype=np.int64), "all"
        if len(gallery) > max(k, shortlist) and query.vectors.shape[1] == gallery.vectors.shape[1]:
            rows, how = np.sort(gallery.nearest(query.vectors[0], max(k, shortlist))[0]), "shortlist"
        one = _fragments(query, np.zeros(1, np.int64))
        scores = np.empty(len(rows), np.float32)
        for places in _blocks(len(rows)):
            some = _fragments(gallery, rows[places])
            block = self._exact(one, some) if query.kind == "images" else self._exact(some, one)
            scores[places] = block.reshape(-1)
        best = np.argsort(-_finite(scores), kind="stable")[:k]
        return rows[best], scores[best], how

    def split(self, name: str) -> tuple[Embeddings, Embeddings]:
        """Embed images and captions of a split of the run's own data set.

        Raises:
            UserError: the data is missing, or has no such split.
        """
        try:
            data: DataSet = self.model.config.data.cls(self.model.config.data.options)
            if name not in data.splits():
                raise DataError(f"it has no split '{name}', only {', '.join(data.splits())}")
            opened = data.split(name)
        except UserError as error:
            raise DataError(
                f"cannot open the {name} split of the run's data: {error}; choose another split, or give "
                "your own images or captions as among"
            ) from error
        images = self.embed_items("images", self.model.images.of_split(opened))
        texts = self.embed_items("texts", self.model.captions.of_split(opened))
        owner = getattr(opened, "image_of_caption", np.arange(len(images), dtype=np.int64))
        captions: dict[int, list[str]] = {}
        if opened.captions is not None:
            for row, image in enumerate(owner.tolist()):
                captions.setdefault(image, []).append(opened.captions[row])
        picture = opened.picture
        return replace(images, beside=lambda image: captions.get(image, ())), replace(
            texts,
            beside=lambda row: (images.names[int(owner[row])],),
            picture=None if picture is None else lambda row: picture(int(owner[row])),
        )

    def unknown_words(self, caption: str) -> tuple[str, ...]:
        """Return the words of a caption that the run's vocabulary lacks; none for a subword tokenizer."""
        reader = self.model.captions.reader
        if not isinstance(reader, Vocabulary):
            return ()
        return tuple(dict.fromkeys(word for word in reader.words_of(caption) if word not in reader))

    def _read(self, kind: Kind, given: Any) -> Stream:
        reader = self.model.images if kind == "images" else self.model.captions
        return reader.read(given, self.batch_size)

    def _own(self, given: Embeddings, kind: Kind) -> Embeddings:
        if given.kind != kind:
            raise ArgumentError(f"these are embeddings of {given.kind}; expected {kind}")
        if given.model != self.model.fingerprint:
            raise ArgumentError(
                f"these {kind} were embedded by another model than that of {self.model.path}; embed them "
                "with this run"
            )
        return given

    def _saved(self, kind: Kind, given: Any) -> Embeddings | None:
        """Embeddings in a folder that :meth:`embed` wrote; None for anything else."""
        if not isinstance(given, str | Path):
            return None
        if is_file(f"{given}/{kind}.json"):
            return self._opened(kind, Path(given))
        other = "texts" if kind == "images" else "images"
        if is_file(f"{given}/{other}.json"):
            raise ArgumentError(
                f"{given} holds embeddings of {other} alone; embed {kind} there too, or give others"
            )
        return None

    def _opened(self, kind: Kind, folder: Path, items: Items | None = None) -> Embeddings:
        """Open saved vectors, with their items where these can be read again."""
        vectors, names, about = read_vectors(folder, kind)
        if items is None and kind == "texts" and self.model.captions.reader is not None:
            items = self.model.captions.captions_of(names)
        elif items is None and (source := _unchanged(about)) is not None:
            found = self._read("images", source)
            same = isinstance(found, Items) and [" ".join(name.split()) for name in found.names] == list(
                names
            )
            items = found if isinstance(found, Items) and same else None
        again = None if items is None or self.model.by_vectors else items
        return self._own(
            Embeddings(
                kind,
                vectors,
                names,
                about["model"],
                None if again is None else lambda rows: self.model.encode(again.batch(rows)),
                picture=None if items is None else items.picture,
            ),
            kind,
        )

    def _encoded(
        self, stream: Stream, progress: Callable[[int], None] | None
    ) -> Iterator[tuple[Items, IntArray, tuple[Fragments, ...]]]:
        """Yield items, some of their rows, and these encoded."""
        for items in [stream] if isinstance(stream, Items) else stream:
            for start in range(0, len(items), self.batch_size):
                rows = np.arange(start, min(start + self.batch_size, len(items)), dtype=np.int64)
                yield items, rows, self.model.encode(items.batch(rows))
                if progress is not None:
                    progress(len(rows))

    def _joined(self, sides: tuple[Fragments, ...]) -> FloatArray:
        """One vector an item, (b, D): of several matchers side by side, so that products are mean scores."""
        parts = [search_vectors(side) for side in sides]
        joined: Tensor = parts[0] if len(parts) == 1 else torch.cat(parts, 1) / len(parts) ** 0.5
        return _finite(joined.numpy())

    def _exact(self, images: tuple[Fragments, ...], texts: tuple[Fragments, ...]) -> FloatArray:
        """Mean of the matchers' scores, (n_images, n_texts)."""
        matrices = [score_matrix(*three) for three in zip(self.model.matchers, images, texts, strict=True)]
        mean: FloatArray = (sum(matrices[1:], matrices[0]) / len(matrices)).numpy()
        return mean


def _quoted(path: Path) -> str:
    """An absolute path as text that JSON holds, also where its bytes are not UTF-8."""
    return quote(str(path.absolute()), safe="/\\: ", errors="surrogateescape")


def _changed(source: Path) -> list[int] | None:
    """Size and time of the last change of a file or folder; None if it is gone."""
    try:
        status = source.stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _unchanged(about: Mapping[str, Any]) -> Path | None:
    """The images that saved vectors were made of; None where they are not known, gone or changed."""
    if "source" not in about:
        return None
    source = Path(unquote(about["source"], errors="surrogateescape"))
    return source if _changed(source) == about.get("changed") else None


def _blocks(n: int) -> Iterator[IntArray]:
    for start in range(0, n, _SCORED_AT_ONCE):
        yield np.arange(start, min(start + _SCORED_AT_ONCE, n), dtype=np.int64)


def _fragments(side: Embeddings, rows: IntArray) -> tuple[Fragments, ...]:
    if side.fragments is None:
        raise ArgumentError(
            f"this matcher scores parts of {side.kind}, and where these came from is gone or has changed; "
            "give paths, arrays or texts, or embed them without output"
        )
    return side.fragments(rows)


def _finite(numbers: FloatArray) -> FloatArray:
    if not np.isfinite(numbers).all():
        raise DataError(
            "the model gives NaN or infinite numbers for these; check that its training did not diverge, and "
            "that the numbers given are like those it was trained on"
        )
    return numbers
