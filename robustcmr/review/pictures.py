"""Pictures of the sample, each file of the source read through once, kept small and in bounded memory."""

from __future__ import annotations

import io
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from robustcmr.data.picture_files import PictureError, decode_picture
from robustcmr.errors import UserError
from robustcmr.review.items import Place
from robustcmr.sources.records import Picture, Shard, Source
from robustcmr.sources.shards import below_root

SIDE = 1600
"""Largest width and height of a picture on the page, in pixels; enough to zoom in."""

LIMIT = 256 * 2**20
"""Bytes of pictures in memory."""

logger = logging.getLogger("robustcmr")


class MissingPictureError(UserError):
    """A picture cannot be shown; the message says why in a few words."""


class Pictures:
    """The pictures of some rows of a source, as JPEG.

    The first request for a row of a file reads all wanted rows of that file in one pass, in order, so that a
    sample of a large tar does not read the tar once a picture. A request returns as soon as its own picture
    has come by.

    Args:
        source: that was audited; None where it cannot be opened, as for vectors without pictures.
        places: of all pictures that may be requested.
        side: largest width and height in pixels.
        limit: bytes kept; those not used for longest are dropped first, and read again on request.
    """

    def __init__(
        self, source: Source | None, places: Iterable[Place], side: int = SIDE, limit: int = LIMIT
    ) -> None:
        self._source = source
        self._side = side
        self._limit = limit
        self._shards = _shards(source)
        self._wanted: dict[str, set[int]] = {}
        for place in places:
            self._wanted.setdefault(place.file, set()).add(place.row)
        self._changed = threading.Condition()
        self._kept: OrderedDict[Place, bytes] = OrderedDict()
        self._size = 0
        self._failed: dict[Place, str] = {}
        self._reading: set[str] = set()
        self._passed: set[str] = set()  # files that were read through
        self._closed = False

    def get(self, place: Place) -> bytes:
        """Return a picture as JPEG, reading its file where that is still to be done.

        Raises:
            MissingPictureError: there is none, or it is damaged.
        """
        while True:
            with self._changed:
                while place not in self._kept and place not in self._failed and place.file in self._reading:
                    self._changed.wait(1.0)
                if place in self._kept:
                    self._kept.move_to_end(place)
                    return self._kept[place]
                if place in self._failed:
                    raise MissingPictureError(self._failed[place])
                if self._closed:
                    raise MissingPictureError("the review has ended")
                if place.row not in self._wanted.get(place.file, ()) or place.file not in self._shards:
                    raise MissingPictureError("the source holds no such picture")
                again = place.file in self._passed
                self._reading.add(place.file)
            self._read(place.file, [place.row] if again else sorted(self._wanted[place.file]))

    def prepare(self, places: Sequence[Place]) -> threading.Thread:
        """Read the pictures of places in the background, in this order."""

        def work() -> None:
            for place in places:
                if self._closed or self._size > self._limit // 2:
                    return
                try:
                    self.get(place)
                except UserError:  # said where the picture is shown
                    continue

        thread = threading.Thread(target=work, name="review-pictures", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Stop reading."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _read(self, file: str, rows: Sequence[int]) -> None:
        """Read rows of a file and hand each over as it comes; the caller marked the file as being read."""
        assert self._source is not None  # else no shard was found
        left = set(rows)
        try:
            for picture in self._source.pictures(self._shards[file], np.array(rows, np.int64)):
                left.discard(picture.row)
                self._take(Place(file, picture.row), *_small(picture, self._side))
                if self._closed:
                    return
        except UserError as error:
            logger.warning("pictures of %s cannot be read: %s", file, error)
        finally:
            with self._changed:
                for row in left:
                    self._failed.setdefault(Place(file, row), "it cannot be read from the source")
                self._reading.discard(file)
                self._passed.add(file)
                self._changed.notify_all()

    def _take(self, place: Place, data: bytes | None, why: str) -> None:
        with self._changed:
            if data is None:
                self._failed[place] = why
            else:
                self._size += len(data) - len(self._kept.pop(place, b""))
                self._kept[place] = data
            while self._size > self._limit and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._size -= len(dropped)
            self._changed.notify_all()


def _shards(source: Source | None) -> Mapping[str, Shard]:
    if source is None:
        return {}
    return {below_root(source, shard).as_posix(): shard for shard in source.shards}


def _small(picture: Picture, side: int) -> tuple[bytes | None, str]:
    """A picture as JPEG of limited size, or why there is none."""
    if picture.data is None:
        return None, picture.problem or "it cannot be read"
    try:
        opened = decode_picture(picture.data)
    except PictureError as error:
        return None, str(error)
    small = opened.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88, optimize=True)
    return buffer.getvalue(), ""
