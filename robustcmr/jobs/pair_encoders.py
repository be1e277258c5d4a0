"""Models that turn pictures and captions into one vector each: CLIP, SigLIP, or the model of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from robustcmr.data.pictures import PatchProcessor, PictureProcessor, open_patch_processor, open_processor
from robustcmr.data.pretrained_tokenizer import PretrainedTokenizer, open_tokenizer
from robustcmr.errors import ArgumentError, DataError, DeviceError
from robustcmr.jobs.encode import Encoder
from robustcmr.jobs.given import Items
from robustcmr.jobs.model import Model, weights_fingerprint
from robustcmr.matchers.encoders.pretrained import PretrainedNetwork
from robustcmr.pretrained import anchored, read_config
from robustcmr.training.devices import build_accelerator
from robustcmr.types import FloatArray, ImageBatch

KINDS = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}
"""Classes of transformers by the ``model_type`` of config.json."""

_SETTINGS = ("do_", "size", "crop_size", "image_", "resample", "rescale", "patch_size", "max_num_patches")


class PairEncoder(Protocol):
    """Encodes pictures and captions so that a product of two vectors is their score."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that tell it from models with other vectors."""

    @property
    def limit(self) -> int | None:
        """Most tokens of a caption; None if unlimited."""

    def prepare(self, picture: Image.Image) -> Any:
        """Return a picture as :meth:`images` takes it; threads may call this together."""

    def images(self, prepared: Sequence[Any]) -> FloatArray:
        """Return the vectors (n, D) of n >= 1 prepared pictures."""

    def texts(self, captions: Sequence[str]) -> FloatArray:
        """Return the vectors (n, D) of n >= 1 captions, cut at the limit."""

    def is_cut(self, caption: str) -> bool:
        """Return whether a caption has more tokens than are read."""


class PretrainedPairEncoder:
    """CLIP, SigLIP or SigLIP 2 of transformers; vectors have unit length.

    SigLIP was trained on lower-case captions that are always padded to the same length, without a mask, and
    is given them so. SigLIP 2 of the NaFlex kind reads pictures in their own shape.

    Args:
        name: local folder or hub name.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        DataError: files are missing, damaged, of another kind of model, or do not belong together.
        DeviceError: there is no such device.
    """

    def __init__(self, name: str, device: str) -> None:
        import transformers  # slow to load

        files = read_config(name, "model")
        self._kind: str = files.model_type
        if self._kind not in KINDS:
            raise DataError(
                f"{name!r} is a {self._kind} model; expected CLIP or SigLIP, whose config.json says "
                "model_type clip, siglip or siglip2"
            )
        self.name = f"the {self._kind} model {name!r}"
        self._tokens: PretrainedTokenizer = open_tokenizer(name)
        self.limit: int | None = self._tokens.longest
        processor: PictureProcessor | PatchProcessor
        if self._kind == "siglip2":
            processor = open_patch_processor(name)
        else:
            processor = open_processor(name)
            _check_size(name, processor.size, files.vision_config.image_size)
        self.prepare = processor
        self._device = build_accelerator(device, "fp32").device
        kind = getattr(transformers, KINDS[self._kind])
        network = PretrainedNetwork(kind, files, name, "model", 0.0, lambda model: model)
        network.load_pretrained()
        self._network: Any = network.network.to(self._device).eval()
        settings = {key: value for key, value in processor.settings.items() if key.startswith(_SETTINGS)}
        self.identity: dict[str, Any] = {
            "kind": self._kind,
            "name": anchored(name),
            "weights": weights_fingerprint([network.network]),
            "tokens": [len(self._tokens), self.limit],
            "pictures": settings,
        }

    def images(self, prepared: Sequence[Any]) -> FloatArray:
        """Return the unit vectors (n, D) of prepared pictures."""
        if self._kind == "siglip2":
            inputs = {key: np.stack([each[key] for each in prepared]) for key in prepared[0]}
        else:
            inputs = {"pixel_values": np.stack(prepared)}
        with self._computing(len(prepared)):
            tensors = {key: torch.from_numpy(value).to(self._device) for key, value in inputs.items()}
            return _unit(self._network.get_image_features(**tensors))

    def texts(self, captions: Sequence[str]) -> FloatArray:
        """Return the unit vectors (n, D) of captions."""
        rows = list(self._tokens.encode_many(map(self._cased, captions)))
        fixed = self._kind != "clip"
        width = self.limit if fixed and self.limit is not None else max(map(len, rows))
        tokens = torch.full((len(rows), width), self._tokens.padding_index)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for row, indices in enumerate(rows):
            left = self._tokens.pads_left and fixed
            place = slice(width - len(indices), width) if left else slice(len(indices))
            tokens[row, place], mask[row, place] = torch.tensor(indices), 1
        inputs = {"input_ids": tokens} if fixed else {"input_ids": tokens, "attention_mask": mask}
        with self._computing(len(captions)):
            tensors = {key: value.to(self._device) for key, value in inputs.items()}
            return _unit(self._network.get_text_features(**tensors))

    def is_cut(self, caption: str) -> bool:
        """Return whether a caption has more tokens than are read."""
        return self._tokens.is_cut(self._cased(caption))

    def _cased(self, caption: str) -> str:
        return caption if self._kind == "clip" else caption.lower()

    @contextmanager
    def _computing(self, count: int) -> Iterator[None]:
        try:
            with torch.inference_mode():
                yield
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{self._device} has too little memory for {count} items at once; lower batch_size"
            ) from error


class RunPairEncoder:
    """The model of a trained run that reads pictures and words, and scores by products of vectors.

    Args:
        run: the run folder.
        device: as for :class:`PretrainedPairEncoder`.
        checkpoint: ``best`` or ``last``.
        trusted: import the code that the run names, even if it was not trained here.

    Raises:
        UserError: there is no such run, its model cannot be opened, or it has no such vectors.
    """

    def __init__(self, run: Path, device: str, checkpoint: str = "best", trusted: bool = False) -> None:
        model = Model(run, device, checkpoint, trusted)
        processor, reader = model.images.processor, model.captions.reader
        if processor is None or reader is None:
            reads = (
                "no pictures but features of them" if processor is None else "no words but vectors of texts"
            )
            raise DataError(
                f"the run {run} reads {reads}; give a run on pictures and captions, or vectors of your own"
            )
        if not model.by_vectors:
            raise DataError(
                f"the matcher of {run} compares parts of pictures and captions, so that no product of two "
                "vectors is its score; give a run of a matcher with one vector a side, such as clip"
            )
        self.name, self._model = f"the run {run}", model
        self._encoder, self.prepare = Encoder(model, 1 << 30), processor
        self._tokens = reader if isinstance(reader, PretrainedTokenizer) else None
        self.limit: int | None = None if self._tokens is None else self._tokens.longest
        self.identity: dict[str, Any] = {
            "kind": "run",
            "name": str(run.absolute()),
            "checkpoint": checkpoint,
            "weights": model.fingerprint,
        }

    def images(self, prepared: Sequence[Any]) -> FloatArray:
        """Return the vectors (n, D) of prepared pictures."""
        pixels = torch.from_numpy(np.stack(prepared))
        batch = ImageBatch(pixels, torch.ones(len(pixels), 1, dtype=torch.bool))
        items = Items([""] * len(pixels), lambda _: batch)
        return self._encoder.embed_items("images", items).vectors

    def texts(self, captions: Sequence[str]) -> FloatArray:
        """Return the vectors (n, D) of captions."""
        return self._encoder.embed_items("texts", self._model.captions.captions_of(captions)).vectors

    def is_cut(self, caption: str) -> bool:
        """Return whether a caption has more tokens than are read."""
        return self._tokens is not None and self._tokens.is_cut(caption)


def open_encoder(
    model: str | None, run: Path | None, device: str, checkpoint: str, trusted: bool
) -> PairEncoder:
    """Open a model by its folder or hub name, or a run.

    Raises:
        ArgumentError: both are given, or neither.
        UserError: it cannot be opened.
    """
    if (model is None) == (run is None):
        given = "neither is given" if model is None else "both are given"
        raise ArgumentError(f"vectors are made by a model or by a run, and {given}; give one of them")
    if run is not None:
        return RunPairEncoder(run, device, checkpoint, trusted)
    return PretrainedPairEncoder(str(model), device)


def _check_size(name: str, made: tuple[int, int], expected: int) -> None:
    if made != (expected, expected):
        raise DataError(
            f"{name!r} reads pictures of {expected}x{expected} pixels, but its image processor makes "
            f"{made[0]}x{made[1]}; set the same size in preprocessor_config.json"
        )


def _unit(features: Any) -> FloatArray:
    """Unit vectors of what a model returns: a tensor or, in later releases, outputs that hold it."""
    vectors: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    found: FloatArray = F.normalize(vectors.float(), dim=-1).cpu().numpy()
    if not np.isfinite(found).all():
        raise DataError(
            "the model gives NaN or infinite numbers; check that its weights are whole, or compute on "
            "another device"
        )
    return found
