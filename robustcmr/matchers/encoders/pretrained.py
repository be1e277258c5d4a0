"""Pictures and captions to fragments: networks of transformers and a linear map."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, cast

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from robustcmr.errors import DataError
from robustcmr.matchers.base import Backbone
from robustcmr.matchers.encoders.layers import masked_fragments, xavier
from robustcmr.pretrained import WEIGHTS, anchored, longest_text, read, read_config, text_part
from robustcmr.types import Fragments, ImageBatch, TextBatch

ModelName = Annotated[str, AfterValidator(anchored)]
"""Local folder or hub name of a model, the same from any working directory."""


class PretrainedNetwork(Backbone):
    """A transformers network with random weights until :meth:`load_pretrained` is called.

    Args:
        kind: class of the model, with ``from_pretrained``.
        config: configuration of the model.
        name: local folder or hub name of the weights.
        option: the option that gave the name, such as ``matcher.weights``.
        lr_factor: multiplies the learning rate; 0 freezes: no gradient, evaluation mode.
        kept: returns the used part of the model.
        arguments: further arguments of ``kind``.
    """

    def __init__(
        self,
        kind: Any,
        config: Any,
        name: str,
        option: str,
        lr_factor: float,
        kept: Callable[[Any], nn.Module],
        **arguments: Any,
    ) -> None:
        super().__init__(lr_factor)
        self._kind, self._config, self._arguments = kind, config, arguments
        self._name, self._option, self._kept = name, option, kept
        self.network = kept(kind(config, **arguments)).float()
        if lr_factor == 0:
            self.requires_grad_(False)
        self.train(self.training)

    def load_pretrained(self) -> None:
        """Load the weights of the folder or hub name.

        Raises:
            DataError: the files are missing, damaged, or of another network.
        """
        reader = partial(
            self._kind.from_pretrained,
            config=self._config,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the shapes are reported below
            **self._arguments,
        )
        model, report = read(WEIGHTS, self._name, reader, self._option)
        self._refuse_misfits(model.state_dict(), report)
        self.network.load_state_dict(self._kept(model).state_dict())  # cast to float32

    def gradients(self) -> torch.set_grad_enabled:
        """Return a context that enables gradients only if the network is trained."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and self.lr_factor > 0)

    def _refuse_misfits(self, weights: dict[str, Tensor], report: Any) -> None:
        entries = report["mismatched_keys"]  # names, or names with two shapes, by release
        others = sorted(entry if isinstance(entry, str) else entry[0] for entry in entries)
        missing = sorted(report["missing_keys"])
        if others:
            shape = tuple(weights[others[0]].shape)
            misfit = f"{len(others)} have the wrong shape, such as {others[0]}, expected {shape}"
        elif missing:
            misfit = f"{len(missing)} of {len(weights)} are missing, such as {missing[0]}"
        else:
            return
        raise DataError(
            f"the weights of {self._name!r} ({self._option}) do not fit its config.json: {misfit}; expected "
            f"the files of one {self._kind.__name__}, as save_pretrained of transformers writes them"
        )


class ClipPatches(nn.Module):
    """Project the output patches of CLIP's vision model by a linear map.

    CLIP applies its last layer norm to the class token alone; here it also normalises the patches, so that
    both have the same scale. The class token becomes the pooled vector and is not a fragment.

    Args:
        weights: local folder or hub name of a CLIP model; only its configuration is read here.
        dim: D, width of a fragment.
        lr_factor: multiplies the learning rate of CLIP's weights; 0 freezes them.

    Raises:
        DataError: the configuration is missing, damaged or not CLIP's.
    """

    def __init__(self, weights: str, dim: int, lr_factor: float) -> None:
        super().__init__()
        from transformers import CLIPVisionModel  # slow to load

        option = "matcher.image_weights"
        config = read_config(weights, option)
        self._model = f"{weights!r} ({option})"
        check_clip(self._model, config, "clip", "clip_vision_model")
        config = config.vision_config if config.model_type == "clip" else config
        self._size = config.image_size
        kept = partial(_bare, part="vision_model")
        self.backbone = PretrainedNetwork(CLIPVisionModel, config, weights, option, lr_factor, kept)
        self.linear = xavier(nn.Linear(config.hidden_size, dim))

    def forward(self, images: ImageBatch) -> Fragments:
        """Encode N pictures (N, 3, H, W) into P patches in row order, (N, P, D), and the class token (N, D).

        Neither is normalised.

        Raises:
            DataError: the batch holds no pixels, or pictures of another size.
        """
        check_pixels(self._model, images.features, self._size)
        network: Any = self.backbone.network
        with self.backbone.gradients():
            hidden = network.post_layernorm(network(pixel_values=images.features).last_hidden_state)
        encoded: Tensor = self.linear(hidden)  # (N, 1 + P, D), class token first
        features = encoded[:, 1:]
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        return Fragments(features, mask, encoded[:, 0])


class PretrainedWords(nn.Module):
    """Encode a caption with a transformers text encoder and project each token by a linear map.

    Any encoder with a ``last_hidden_state`` works, such as BERT, RoBERTa or DistilBERT, and the text model of
    CLIP. The encoder's pooling layer is left out.

    Args:
        weights: local folder or hub name of the model; only its configuration is read here.
        dim: D, width of a fragment.
        lr_factor: multiplies the learning rate of the encoder's weights; 0 freezes them.

    Raises:
        DataError: the configuration is missing, damaged or not a text encoder's.
    """

    def __init__(self, weights: str, dim: int, lr_factor: float) -> None:
        super().__init__()
        option = "matcher.text_weights"
        config = text_part(read_config(weights, option))
        self._model, self._longest = f"{weights!r} ({option})", longest_text(config)
        kind = _text_model(self._model, config)
        has_pooler = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
        arguments = {"add_pooling_layer": False} if has_pooler else {}
        kept = partial(_bare, part="text_model")
        self.backbone = PretrainedNetwork(kind, config, weights, option, lr_factor, kept, **arguments)
        self.linear = xavier(nn.Linear(config.hidden_size, dim))

    def forward(self, texts: TextBatch) -> Fragments:
        """Encode N captions into fragments (N, W, D), not normalised, zero where padded, and their means.

        Raises:
            DataError: the captions are too long for the encoder.
        """
        if self._longest is not None and texts.tokens.shape[1] > self._longest:
            raise DataError(
                f"{self._model} reads at most {self._longest} tokens, got captions of "
                f"{texts.tokens.shape[1]}; use the tokenizer of the same model"
            )
        with self.backbone.gradients():
            hidden = self.backbone.network(
                input_ids=texts.tokens, attention_mask=texts.mask.long()
            ).last_hidden_state  # (N, W, hidden_size)
        return masked_fragments(self.linear(hidden), texts.mask)


def check_clip(model: str, config: Any, *kinds: str) -> None:
    """Raise DataError unless the configuration of ``model`` is of one of the kinds of CLIP model."""
    if config.model_type not in kinds:
        raise DataError(
            f"{model} is a {config.model_type} model; expected a CLIP model, whose config.json says "
            "model_type clip"
        )


def check_pixels(model: str, features: Tensor, size: int) -> None:
    """Raise DataError unless images are pixels (N, 3, size, size), as ``model`` expects."""
    if tuple(features.shape[1:]) != (3, size, size):
        given = "region features"
        if features.dim() == 4:
            given = f"pictures of {features.shape[2]}x{features.shape[3]} pixels"
        raise DataError(
            f"{model} reads pictures of {size}x{size} pixels, got {given}; use a data set with pictures and "
            "the image processor of the same model"
        )


def _text_model(model: str, config: Any) -> Any:
    """Return the class of the text encoder that a configuration describes."""
    from transformers import MODEL_MAPPING, CLIPTextModel  # slow to load

    if config.model_type == "clip_text_model":
        return CLIPTextModel
    kind = MODEL_MAPPING.get(type(config), None)
    reads_text = getattr(kind, "main_input_name", None) == "input_ids" and not hasattr(
        config, "vision_config"
    )
    if not reads_text or config.is_encoder_decoder:
        raise DataError(
            f"{model} is a {config.model_type} model; expected a text encoder such as BERT, RoBERTa or "
            "DistilBERT, or a CLIP model"
        )
    return kind


def _bare(model: Any, part: str) -> nn.Module:
    """Return the network itself, which some releases of transformers wrap as ``part``."""
    return cast(nn.Module, getattr(model, part, model))
