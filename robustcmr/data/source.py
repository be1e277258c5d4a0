"""Somebody's own pairs in any format: files, folders, or the folder of an audit."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from robustcmr.data import audited
from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.fingerprint import fingerprint
from robustcmr.data.source_pictures import PackedPictures, PictureFiles, has_pictures
from robustcmr.data.source_reading import ReadPairs, read_pairs
from robustcmr.data.source_splits import (
    drawn_splits,
    folder_splits,
    named_splits,
    sizes,
    split_column,
    warn_of_leaks,
    with_dev,
)
from robustcmr.data.source_vectors import opened
from robustcmr.data.text_column import TextColumn
from robustcmr.errors import ConfigError, DataError
from robustcmr.options import Options
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.clip_layout import Side
from robustcmr.sources.guess import open_source
from robustcmr.sources.records import Source
from robustcmr.sources.vectors import Vectors, open_vectors, own_vectors
from robustcmr.types import IntArray

logger = logging.getLogger("robustcmr")

_FLAG = r"--(image-vectors|text-vectors|image|text|id|format|where)\b"

_OF_THE_AUDIT = ("format", "image", "text", "id", "where")


class SourceConfig(Options):
    """Which pairs, which vectors, and how they are split."""

    root: str = Field(
        description="a file, a folder, a pattern such as web/*.parquet, or the folder of an audit",
        examples=["pairs.parquet"],
    )
    format: str | None = Field(None, description="format of the source; guessed by default")
    image: str | None = Field(
        None, description="column with the picture, or what names it; guessed by default"
    )
    text: str | None = Field(None, description="column with the caption, or a list; guessed by default")
    id: str | None = Field(None, description="column with the id of the pair; guessed, or made, by default")
    where: str | None = Field(None, description="SQL condition on the columns, such as width > 200")
    image_vectors: str | None = Field(
        None, description="vectors of the images: a .npy, a folder, an array of each .npz, or a column"
    )
    text_vectors: str | None = Field(None, description="vectors of the captions, in the same ways")
    split: str | None = Field(
        None,
        description="column that names the split of each row, or drawn; by default one called split, the "
        "names of folders and files such as train/ and test/, or else drawn by a hash of the image",
    )
    dev: float = Field(0.05, ge=0.0, lt=1.0, description="share of the images in the dev split (drawn)")
    test: float = Field(0.05, ge=0.0, lt=1.0, description="share of the images in the test split (drawn)")
    most: int = Field(5000, ge=1, description="most images of the dev and of the test split (drawn)")
    split_seed: int = Field(0, ge=0, description="seed of the hash (drawn)")
    trusted: bool = Field(
        False,
        description="whether the pairs are known to be right, so that estimates are scored against them",
    )
    audit: Literal["ignore", "weights", "drop"] = Field(
        "ignore",
        description="what the judgements of an audit do; weights: its probabilities weigh the training pairs "
        "until the method's first division, drop: training pairs on the drop list are left out",
    )

    @field_validator("root")
    @classmethod
    def _whole_name(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("got an empty name, expected a file or folder, such as web/*.parquet")
        # a path takes one of the two slashes of a name of the hub
        return value.replace("hf:/", "hf://", 1) if value.startswith("hf:/") and "//" not in value else value

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.dev + self.test >= 1.0:
            raise ValueError(
                f"dev is {self.dev:g} and test is {self.test:g}, which leaves nothing to train on; expected "
                "less than 1 in all, such as --set data.dev=0.1"
            )
        return self


class SourcePairs(PairsData):
    """Somebody's own pairs in any format that ``robustcmr audit`` reads, or the folder of an audit.

    Parquet, Arrow, HF ``save_to_disk`` and hub names, CSV, JSON lines, WebDataset tars, folders of pictures,
    clip-retrieval, DataComp and ``.npy``. Pairs of one picture belong together by the name or the bytes of
    that picture, in any number. Pairs with a problem are left out and counted.

    A pair takes its caption, its id and about 100 more bytes of main memory, and as much again while it is
    read. Vectors stay on disk, unless they are those of a column, which are copied once to the user's cache;
    so are pictures in tars and tables where there are no vectors.

    Args:
        config: which pairs, which vectors, and how they are split.

    Raises:
        DataError: there is no such source, it has no column of captions, or its audit has not finished.
        ConfigError: there is no such format.
    """

    Config = SourceConfig
    chooses_matcher = True

    def __init__(self, config: SourceConfig) -> None:
        self.config = config
        root = Path(config.root).expanduser()
        self._audit = root if audited.is_audit(root) else None
        self._where = config.where
        self._vectors: dict[Side, str | None] = {"image": config.image_vectors, "text": config.text_vectors}
        if self._audit is None:
            if config.audit != "ignore":
                raise DataError(
                    f"data.audit is {config.audit} and {config.root} is not the folder of an audit; audit it "
                    f"first: robustcmr audit {config.root} -o audits/web, then --data-root audits/web"
                )
            with _named_as_options():
                self.source: Source = open_source(
                    str(root) if "://" not in config.root else config.root,
                    format=config.format,
                    image=config.image,
                    text=config.text,
                    id=config.id,
                )
        else:
            self.source = self._of_the_audit(self._audit)
        self._opened: dict[str, PairsSplit] = {}
        self._fingerprints: dict[str, str] = {}

    def _of_the_audit(self, path: Path) -> Source:
        """Open the source of an audit, with its condition and its vectors."""
        settings, given = audited.audit_settings(path), self.config
        for name in _OF_THE_AUDIT:
            if getattr(given, name) is not None:
                raise DataError(
                    f"data.{name} is {getattr(given, name)!r}, but the audit in {path} says which pairs it "
                    f"is of; leave data.{name} out, or give the source itself with --data-root"
                )
        self._where = settings.get("where")
        for side in self._vectors:
            made = path / "vectors"
            own = str(made) if settings.get("made_by") and made.is_dir() else settings.get(f"{side}_vectors")
            self._vectors[side] = own if self._vectors[side] is None else self._vectors[side]
        return audited.reopened(AuditFolder(path))

    def matcher(self) -> tuple[str, str]:
        """Return the matcher that reads what the source holds, and why; see :class:`DataSet`."""
        if self._vectors["image"] or self.source.options.get("image_vectors"):
            return "embeddings", "there are vectors of the images"
        if has_pictures(self.source):
            return "clip", "there are pictures and no vectors"
        raise DataError(
            f"{self.source.root} brings neither pictures nor vectors of them (addresses are not fetched); "
            "name vectors, such as --set data.image_vectors=img_emb.npy, or the column with the pictures, "
            "such as --set data.image=path"
        )

    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits, ``train`` first."""
        return tuple(self._pairs_of)

    def split(self, name: str) -> PairsSplit:
        """Open a split; vectors and pictures stay on disk. See :class:`robustcmr.data.base.DataSet`."""
        if name not in self._opened:
            if name not in self._pairs_of:
                raise DataError(
                    f"{self.config.root} has no split {name!r}; it has {', '.join(self.splits())}"
                )
            self._opened[name] = self._open(name)
        return self._opened[name]

    def fingerprint(self, split: str) -> str:
        """Return a short hash of a split's captions, pairing, and every vector or picture.

        It is the same in any format of the source, and on every machine.
        """
        if split not in self._fingerprints:
            found = self.split(split)
            if found.features is None:
                self._fingerprints[split] = _of_pictures(found)
            else:
                self._fingerprints[split] = fingerprint(
                    found.captions, found.image_of_caption, found.features, found.text_vectors
                )
        return self._fingerprints[split]

    @cached_property
    def _read(self) -> ReadPairs:
        """The pairs, read at the first use."""
        with _named_as_options():
            found = self._both
            said = chain(self.source.says, *(side.says for side in found.values() if side is not None))
            for sentence in said:
                logger.info("%s", in_options(sentence))
            if found["image"] is None:
                self.matcher()  # says what is missing where there are no pictures either
            return read_pairs(self.source, self._where, found["image"], found["text"], self._audit)

    @cached_property
    def _both(self) -> Mapping[Side, Vectors | None]:
        """The vectors of both sides, opened."""
        return {
            side: own_vectors(self.source, side) if given is None else open_vectors(given, side, self.source)
            for side, given in self._vectors.items()
        }

    @cached_property
    def _pairs_of(self) -> dict[str, IntArray]:
        """The pairs of each split, ascending."""
        found, config = self._read, self.config
        column = split_column(self.source, config.split)
        named, by = None, f"the column {column}"
        if column is not None:
            named = named_splits(self.source, column, found.shards, found.rows, config.split is not None)
        if named is None and config.split is None:
            named, by = folder_splits(self.source, found.shards), "the names of folders and files"
        if named is not None:
            warn_of_leaks(config.root, named, found.image_of_pair, len(found.keys))
            drawn = (config.dev, config.most, config.split_seed)
            splits = with_dev(named, found.image_of_pair, found.keys, *drawn)
            more = "" if len(splits) == len(named) else ", and dev drawn from the images of train"
            logger.info("splits by %s%s, in pairs: %s", by, more, sizes(splits))
            return self._without_dropped(splits)
        shares = {"dev": config.dev, "test": config.test}
        images = drawn_splits(found.keys, shares, config.most, config.split_seed)
        logger.info("splits by a hash of the image, in images: %s", sizes(images))
        of_image = np.empty(len(found.keys), np.int64)
        for number, chosen in enumerate(images.values()):
            of_image[chosen] = number
        of_pair = of_image[found.image_of_pair]
        return self._without_dropped(
            {name: np.flatnonzero(of_pair == number) for number, name in enumerate(images)}
        )

    def _without_dropped(self, splits: dict[str, IntArray]) -> dict[str, IntArray]:
        """Say what the audit's judgements do, and leave out training pairs on its drop list if requested."""
        judged, use = self._read.judged, self.config.audit
        if judged is None:
            return splits
        dropped = judged.dropped[splits["train"]]
        if use == "ignore":
            logger.info(
                "the audit would drop %s of the %s training pairs; data.audit=drop leaves them out, and "
                "data.audit=weights weighs pairs by its probabilities",
                *(f"{int(dropped.sum()):,}", f"{len(dropped):,}"),
            )
        if use != "drop":
            return splits
        logger.info("left out %s training pairs on the drop list of the audit", f"{int(dropped.sum()):,}")
        if dropped.all():
            raise DataError(
                f"the audit in {self._audit} drops all {len(dropped):,} training pairs; leave data.audit out"
            )
        return {**splits, "train": splits["train"][~dropped]}

    def _open(self, name: str) -> PairsSplit:
        found, chosen, both = self._read, self._pairs_of[name], self._both
        images, image_of_caption = np.unique(found.image_of_pair[chosen], return_inverse=True)
        features = text_vectors = None
        if found.image_at is not None and both["image"] is not None:
            features = opened(both["image"], found.image_at[images], self.source)
        if found.text_at is not None and both["text"] is not None:
            text_vectors = opened(both["text"], found.text_at[chosen], self.source)
        weighs = self.config.audit == "weights" and name == "train" and found.judged is not None
        return PairsSplit(
            name,
            features,
            TextColumn(found.captions, chosen),
            image_of_caption.astype(np.int64),
            picture=None if found.pictures is None else found.pictures.some(images),
            image_names=found.names.chosen(images),
            trusted=self.config.trusted,
            text_vectors=text_vectors,
            pair_ids=TextColumn(found.ids, chosen),
            clean_probability=found.judged.clean_probability[chosen] if weighs and found.judged else None,
        )


def in_options(sentence: str) -> str:
    """Return a sentence about a source with the options of a run for the flags of ``robustcmr audit``.

    Example:
        >>> in_options("name it, such as --text caption; others with --image")
        'name it, such as --set data.text=caption; others with data.image'
    """

    def option(found: re.Match[str]) -> str:
        name = f"data.{found[1].replace('-', '_')}"
        return name if found.lastindex == 1 else f"--set {name}={found[2]}"

    return re.sub(_FLAG, option, re.sub(rf"(?<=such as ){_FLAG} ([^\s;,]+)", option, sentence))


@contextmanager
def _named_as_options() -> Iterator[None]:
    """Let errors of a source name the options of a run."""
    try:
        yield
    except (DataError, ConfigError) as error:
        said = in_options(str(error))
        if said == str(error):
            raise
        raise type(error)(said) from error


def _of_pictures(split: PairsSplit) -> str:
    """Hash the captions of a split, their pairing, and the files of all pictures."""
    digest = hashlib.sha256(b"pictures\n")
    for caption in split.captions:
        encoded = caption.encode("utf-8", "surrogatepass")
        digest.update(b"%d %b" % (len(encoded), encoded))
    digest.update(split.image_of_caption.astype("<i8").tobytes())
    if isinstance(split.picture, PictureFiles | PackedPictures):
        for image in range(split.n_images):
            digest.update(split.picture.digest(image))
    return digest.hexdigest()[:16]
