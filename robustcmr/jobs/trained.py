"""A trained run in Python: its outcome, its estimates, and its model for new images and captions.

Torch is loaded with the model, at the first call that needs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from robustcmr.device_names import EXPECTED, is_device_name
from robustcmr.errors import ArgumentError, RunFolderError
from robustcmr.jobs.results import Results
from robustcmr.reporting.hits import Hit, Hits
from robustcmr.reporting.notebook import SuspectList, notebook_html
from robustcmr.reporting.suspects import read_suspects
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.runs.read import SavedRun, read_run

if TYPE_CHECKING:
    from robustcmr.jobs.embeddings import Embeddings, Kind
    from robustcmr.jobs.encode import Encoder
    from robustcmr.types import FloatArray

SHORTLIST = 500
"""Items with the nearest vectors that a matcher of fragments scores for a query."""

_KINDS: tuple[Kind, Kind] = ("texts", "images")

AnyPath = str | os.PathLike[str]


class TrainedRun:
    """A run folder and its model.

    Args:
        path: the run folder.
        device: where the model computes: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        batch_size: images or captions encoded at once, >= 1.
        checkpoint: ``best`` or ``last``.
        trusted: import the ``package.module:Class`` that the run names, even if it was not trained here.
            Otherwise what needs it raises ``TrustError``; results and estimates are read without.

    Attributes:
        path: the run folder.

    Raises:
        UserError: there is no run, or an argument is of the wrong kind.

    Example:
        Search the test pictures of a run::

            with robustcmr.load("runs/a") as run:
                print(run.results.rsum)
                for hit in run.search("a red star", k=5):
                    print(hit.score, hit.name)
    """

    def __init__(
        self,
        path: AnyPath,
        device: str = "auto",
        batch_size: int = 256,
        checkpoint: str = "best",
        trusted: bool = False,
    ) -> None:
        self.path = checked_path(path, "the run folder")
        if not isinstance(device, str) or not is_device_name(device):
            raise ArgumentError(f"device is {device!r}, expected {EXPECTED}")
        if checkpoint not in ("best", "last"):
            raise ArgumentError(f"checkpoint is {checkpoint!r}, expected 'best' or 'last'")
        self._device, self._checkpoint, self._trusted = device, checkpoint, trusted
        self._batch_size = checked_count(batch_size, "batch_size")
        self._model: Encoder | None = None
        self._galleries: dict[str, dict[Kind, Embeddings]] = {}
        self._closed = False
        self._folder.require()

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, resolved, as nested plain values."""
        return self._folder.read_config()

    @property
    def results(self) -> Results:
        """``results.json`` with attribute access; ``rsum`` and other measures are those of the test split."""
        saved = read_run(self._folder.path)
        return Results(saved.results, saved.config.get("evaluation", {}).get("test", "test"))

    @property
    def pairs(self) -> PairsTable:
        """The estimate of every training pair: columns as arrays, ``to_pandas()``, ``to_arrow()``.

        Raises:
            UserError: the run has not finished, or its method does not estimate pairs.
        """
        folder = self._folder
        folder.require_estimates(folder.pairs)
        return PairsTable.read(folder.pairs)

    @property
    def labels(self) -> LabelsTable:
        """The estimate of every training label, as :attr:`pairs`.

        Raises:
            UserError: the run has not finished, or its method does not correct labels.
        """
        folder = self._folder
        folder.require_estimates(folder.labels, folder.pairs)
        if not folder.labels.is_file():
            raise RunFolderError(f"{self.path} estimates pairs and corrects no labels; see its pairs")
        return LabelsTable.read(folder.labels)

    def suspects(self, top: int = 50) -> SuspectList:
        """Return the pairs or labels most likely to be wrong, worst first, as mappings.

        Args:
            top: most to return, >= 1.

        Raises:
            UserError: the run has not finished, or its method estimates nothing.
        """
        top, folder = checked_count(top, "top"), self._folder
        folder.require_estimates(folder.pairs, folder.labels)
        found = read_suspects(folder)
        rows = found.worst()
        return SuspectList(found, rows[:top], len(rows), self._training_split)

    def report(self, output: AnyPath | None = None, gallery: int = 96, model: bool = True) -> Path:
        """Write the page of the run and return its file; see ``robustcmr report``.

        Args:
            output: the file; ``report.html`` in the run folder by default.
            gallery: most suspects to show, >= 0.
            model: whether to open data and model for pictures, fitted curves and plans.

        Raises:
            UserError: a file of the run is damaged, or the page cannot be written.
        """
        from robustcmr.jobs.report import write_run_report

        target = None if output is None else checked_path(output, "output")
        gallery = checked_count(gallery, "gallery", 0)
        return write_run_report(self._folder.path, target, gallery, model, self._trusted)

    def embed_texts(
        self,
        texts: Any,
        *,
        output: AnyPath | None = None,
        overwrite: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Embeddings:
        """Embed captions.

        Args:
            texts: a text, a list or generator of texts, a ``Path`` of a file with a caption a line, or, for
                a run that reads vectors of texts, an array (n, V).
            output: folder that receives ``texts.npy`` and ``texts.txt`` as they come; the vectors are then
                read from there, so that memory does not grow with their number.
            overwrite: replace such files.
            progress: called with the number of captions of every batch.

        Raises:
            UserError: the captions are of the wrong kind, empty or damaged, or the model cannot be opened.
        """
        target = None if output is None else checked_path(output, "output")
        return self._encoder.embed("texts", texts, target, overwrite, progress)

    def embed_images(
        self,
        images: Any,
        *,
        output: AnyPath | None = None,
        overwrite: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Embeddings:
        """Embed images, whichever the run reads.

        Args:
            images: for a run that reads pictures: a path, a folder, a PIL image, a uint8 array (H, W, 3), or
                a list or generator of these. For one that reads region features or vectors: an array
                (n, R, F) or (n, F), the path of a ``.npy`` file of one, a folder of such files of one image
                each, or a list or generator of arrays (R, F). Make features as those of training were made.
            output: as for :meth:`embed_texts`; the files are ``images.npy`` and ``images.txt``.
            overwrite: replace such files.
            progress: called with the number of images of every batch.

        Raises:
            UserError: the images are of the wrong kind, missing or damaged, or the model cannot be opened.
        """
        target = None if output is None else checked_path(output, "output")
        return self._encoder.embed("images", images, target, overwrite, progress)

    def score(self, images: Any, texts: Any) -> FloatArray:
        """Score every image with every caption; larger is closer.

        Args:
            images: embeddings of this run, or anything that :meth:`embed_images` takes.
            texts: embeddings of this run, or anything that :meth:`embed_texts` takes.

        Returns:
            (n_images, n_texts) float32; the mean over the matchers if the run trained several.

        Raises:
            UserError: as for embedding; or the embeddings are of another run.
        """
        encoder = self._encoder
        return encoder.score(encoder.embed("images", images), encoder.embed("texts", texts))

    def search(
        self,
        text: Any = None,
        *,
        image: Any = None,
        k: int = 10,
        among: Any = None,
        split: str | None = None,
        shortlist: int = SHORTLIST,
    ) -> Hits:
        """Find the images that fit a caption, or the captions that fit an image.

        Args:
            text: the caption to find images for, or the vector of a text where the run reads vectors.
            image: the image to find captions for, one of what :meth:`embed_images` takes; instead of a text.
            k: answers, >= 1.
            among: images, or captions for an image, to search: embeddings, or what the ``embed`` methods
                take; by default those of the run's test split.
            split: another split of the run's data to search.
            shortlist: how many of them a matcher that compares fragments scores, chosen by their vectors.

        Raises:
            UserError: the query is of the wrong kind, or what to search is missing or empty.
        """
        k, shortlist = checked_count(k, "k"), checked_count(shortlist, "shortlist")
        encoder = self._encoder
        if (text is None) == (image is None):
            given = "neither" if text is None else "both"
            raise ArgumentError(f"search takes a text or an image, and got {given}; give one")
        if among is not None and split is not None:
            raise ArgumentError("among and split both say what to search; give one of them")
        asked, sought = _KINDS if image is None else _KINDS[::-1]
        query = encoder.embed(asked, text if image is None else image)
        if len(query) != 1:
            raise ArgumentError(
                f"search takes one {asked[:-1]} and got {len(query)}; search for one after the other"
            )
        gallery = self._split(split)[sought] if among is None else encoder.embed(sought, among)
        rows, scores, how = encoder.search(query, gallery, k, shortlist)
        hits = tuple(
            Hit(place, float(score), row, *_described(gallery, row))
            for place, (row, score) in enumerate(zip(rows.tolist(), scores, strict=True), 1)
        )
        unknown = encoder.unknown_words(text) if isinstance(text, str) else ()
        shown = None if query.picture is None else partial(query.picture, 0)
        return Hits(query.names[0], sought, hits, len(gallery), how, unknown, (gallery.picture, shown))

    def close(self) -> None:
        """Free the model; the run can no longer be used."""
        self._closed, self._model = True, None
        self._galleries.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TrainedRun {self.path}{' (closed)' if self._closed else ''}>"

    def _repr_html_(self) -> str:
        if self._closed:
            return notebook_html(f"{self.path} is closed", (), ())
        saved: SavedRun = read_run(self.path, finished=False)
        if not saved.finished:
            return notebook_html(f"{self.path} has not finished, {len(saved.rows)} epochs so far", (), ())
        return notebook_html(str(self.path), (), ()) + self.results._repr_html_()

    @property
    def _folder(self) -> RunFolder:
        if self._closed:
            raise RunFolderError(
                f"the run {self.path} is closed; open it again with robustcmr.load('{self.path}')"
            )
        return RunFolder(self.path)

    @property
    def _encoder(self) -> Encoder:
        from robustcmr.jobs.encode import Encoder
        from robustcmr.jobs.model import Model

        folder = self._folder
        if self._model is None:
            model = Model(folder.path, self._device, self._checkpoint, self._trusted)
            self._model = Encoder(model, self._batch_size)
        return self._model

    def _split(self, name: str | None) -> dict[Kind, Embeddings]:
        """Embeddings of a split of the run's data, by default the test split; made once."""
        if name is None:
            evaluation = self.config.get("evaluation", {})
            name = evaluation.get("test") or evaluation.get("select") or "test"
        if not isinstance(name, str):
            raise ArgumentError(f"split is {name!r}, expected a name such as 'test'")
        if name not in self._galleries:
            images, texts = self._encoder.split(name)
            self._galleries[name] = {"images": images, "texts": texts}
        return self._galleries[name]

    def _training_split(self) -> Any:
        """The training split of the run's data."""
        from robustcmr.config.resolve import run_config

        config = run_config(RunFolder(self.path).config, self._trusted)
        return config.data.cls(config.data.options).split("train")


def _described(gallery: Embeddings, row: int) -> tuple[str, tuple[str, ...]]:
    """File name and captions of an item."""
    beside = () if gallery.beside is None else tuple(gallery.beside(row))
    if gallery.kind == "images":
        return gallery.names[row], beside
    return (beside[0] if beside else ""), (gallery.names[row],)


def checked_path(value: Any, what: str) -> Path:
    """Return a path, the user's home expanded; raise ArgumentError for anything that cannot be one."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ArgumentError(f"{what} is {value!r}, expected a path such as 'runs/a'")
    try:
        os.stat(value)  # noqa: PTH116  # unlike Path.exists, it reports names that no file can have
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArgumentError(
            f"{what} is {os.fspath(value)[:60]!r}, which cannot be a path: {reason}; give one like 'runs/a'"
        ) from error
    return Path(value).expanduser()


def checked_count(value: Any, what: str, least: int = 1) -> int:
    """Return a whole number; raise ArgumentError unless it is one of at least ``least``."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or value.__index__() < least:
        raise ArgumentError(f"{what} is {value!r}, expected a whole number of at least {least}")
    return int(value.__index__())
