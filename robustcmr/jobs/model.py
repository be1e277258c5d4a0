"""The model of a run: its matchers with trained weights, and how they read images and captions.

No data is opened: ``inputs.json``, the vocabulary and the checkpoint say all. Only runs of version 0.1, which
have no ``inputs.json``, need the data they were trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from robustcmr.config.resolve import RunConfig, run_config
from robustcmr.errors import ArgumentError, DataError, DeviceError, RunFolderError, UserError
from robustcmr.evaluation.candidate_search import scores_are_products
from robustcmr.evaluation.scoring import encode_images, encode_texts
from robustcmr.jobs.given_images import ImageReader
from robustcmr.jobs.given_texts import CaptionReader
from robustcmr.jobs.open import build_matchers, open_data, require_checkpoint
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.inputs import RunInputs
from robustcmr.tracks.inputs import picture_processor, text_reader
from robustcmr.training.checkpoint import load_modules, named_modules
from robustcmr.training.devices import build_accelerator
from robustcmr.types import Fragments, ImageBatch, MatcherInputs, TextBatch

_PROBES = ("a", "a red star", "two dogs run", "a man in a blue shirt plays the guitar", "snow on a hill")


class Model:
    """The matchers of a run with the weights of a checkpoint.

    Args:
        path: the run folder.
        device: where to compute: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        checkpoint: ``best`` or ``last``.
        trusted: import the ``package.module:Class`` that the run names, even if it was not trained here.

    Attributes:
        path: the run folder.
        config: of the run.
        inputs: what the matchers read.
        images: reads images.
        captions: reads captions.
        matchers: several if the run is an ensemble; their scores are averaged.
        device: where they are.

    Raises:
        UserError: there is no run, it names code without consent, or its model cannot be opened.
    """

    def __init__(self, path: Path, device: str, checkpoint: str, trusted: bool = False) -> None:
        folder = RunFolder(path)
        folder.require()
        with folder.unreplaced():
            self.path, self.config = path, run_config(folder.config, trusted)
            self.images, self.captions = _readers(folder, self.config, trusted)
            self.inputs = self.captions.inputs
            accelerator = build_accelerator(device, "fp32")
            self.device: torch.device = accelerator.device
            self.matchers = build_matchers(self.config, self.inputs.spec, accelerator)
            modules = named_modules(accelerator, self.matchers, None)
            load_modules(require_checkpoint(folder, checkpoint), modules)

    def encode(self, batch: ImageBatch | TextBatch) -> tuple[Fragments, ...]:
        """Encode a batch by every matcher; the result is on the CPU.

        Raises:
            ArgumentError: it has text where the matcher reads vectors, or the reverse.
            DataError: the matcher cannot read images of so many regions.
            DeviceError: the device has too little memory.
        """
        cpu, spec = torch.device("cpu"), self.inputs.spec
        try:
            if isinstance(batch, ImageBatch):
                return tuple(encode_images(matcher, [batch], self.device, cpu) for matcher in self.matchers)
            self._check(batch)
            return tuple(encode_texts(matcher, [batch], self.device, cpu) for matcher in self.matchers)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{self.device} has too little memory for {len(batch)} items at once; lower batch_size"
            ) from error
        except (RuntimeError, IndexError) as error:
            regions = batch.mask.shape[1] if isinstance(batch, ImageBatch) else 0
            if regions and spec.picture_size is None and regions != spec.n_regions:
                raise DataError(
                    f"this matcher cannot read images of {regions} regions; expected {spec.n_regions}, as in "
                    "training"
                ) from error
            raise

    @cached_property
    def by_vectors(self) -> bool:
        """Whether scores are products of one vector a side, tried on random images and a few captions."""
        images, texts = self._random_images(), self._random_texts()
        return all(
            scores_are_products(
                matcher,
                encode_images(matcher, [images], self.device),
                encode_texts(matcher, [texts], self.device),
            )
            for matcher in self.matchers
        )

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of the weights: embeddings of different models must not be compared."""
        return weights_fingerprint(self.matchers)

    def _check(self, batch: TextBatch) -> None:
        """Refuse text where the matcher reads vectors, and the reverse."""
        width = self.inputs.spec.text_width
        if width is None:
            return
        if batch.vectors is None and not self._reads_words:
            raise ArgumentError(
                f"the captions are text, and this run reads a vector of each; give an array (n, {width})"
            )
        if batch.vectors is not None and batch.tokens.shape[1] == 1 and not self._reads_vectors:
            raise ArgumentError(
                "the captions are vectors, and this run reads their words; give a list of texts"
            )

    @cached_property
    def _reads_words(self) -> bool:
        try:
            encode_texts(self.matchers[0], [replace(self._random_texts(), vectors=None)], self.device)
        except UserError:
            return False
        return self.captions.reader is not None

    @cached_property
    def _reads_vectors(self) -> bool:
        """Whether texts with the same words and other vectors are encoded differently."""
        tokens = torch.zeros(8, 1, dtype=torch.long)
        vectors = _random(8, self.inputs.spec.text_width or 1)
        batch = TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool), vectors)
        encoded = encode_texts(self.matchers[0], [batch], self.device).features
        return bool((encoded - encoded[:1]).abs().max() > 1e-6)

    def _random_images(self) -> ImageBatch:
        spec = self.inputs.spec
        if spec.picture_size is not None:
            return ImageBatch(_random(4, 3, *spec.picture_size), torch.ones(4, 1, dtype=torch.bool))
        shape = (8, spec.n_regions)
        return ImageBatch(_random(*shape, spec.feature_width), torch.ones(shape, dtype=torch.bool))

    def _random_texts(self) -> TextBatch:
        reader, width = self.captions.reader, self.inputs.spec.text_width
        vectors = None if width is None else _random(len(_PROBES), width)
        if reader is None:
            tokens = torch.zeros(len(_PROBES), 1, dtype=torch.long)
            return TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool), vectors)
        known = [word for word, real in zip(reader.words, reader.is_word, strict=False) if real]
        chance = np.random.default_rng(0)
        texts = [
            " ".join(chance.choice(known, row + 1)) if known else text for row, text in enumerate(_PROBES)
        ]
        return replace(self.captions.words(texts), vectors=vectors)


def weights_fingerprint(networks: Iterable[nn.Module]) -> str:
    """Return a short hash of the weights of networks, of up to 2,047 numbers of each."""
    digest = hashlib.sha256()
    for network in networks:
        for name, value in sorted(network.state_dict().items()):
            numbers = value.detach().flatten()
            some = numbers[:: max(1, numbers.numel() // 1024)].float().cpu().numpy()
            digest.update(f"{name} {tuple(value.shape)}\n".encode() + some.astype("<f4").tobytes())
    return digest.hexdigest()[:16]


def _readers(folder: RunFolder, config: RunConfig, trusted: bool) -> tuple[ImageReader, CaptionReader]:
    """How a run reads its inputs; of an older run, from its data."""
    if not folder.inputs.exists():
        try:
            _, track = open_data(folder.path, trusted)
        except UserError as error:
            raise RunFolderError(
                f"{folder.path} has no inputs.json, which version 0.1 did not write, so its model opens only "
                f"beside the data it was trained on: {error}"
            ) from error
        inputs = track.inputs()
        return ImageReader(inputs, track.processor), CaptionReader(inputs, track.reader)
    inputs = RunInputs.read(folder.inputs)
    names: MatcherInputs = config.matcher.cls.inputs(config.matcher.options)  # type: ignore[attr-defined]
    reader = None
    if inputs.words:
        if names.tokenizer is None and not folder.vocabulary.exists():
            raise RunFolderError(f"{folder.vocabulary} is missing; copy it from where the run was trained")
        reader = text_reader(config.settings.text, (), folder, names)
        inputs = replace(inputs, spec=replace(inputs.spec, words=reader.words))
    return ImageReader(inputs, picture_processor(names)), CaptionReader(inputs, reader)


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
