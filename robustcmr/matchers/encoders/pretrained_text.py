"""Captions to fragments: a pretrained text encoder and a linear map."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from robustcmr.errors import DataError
from robustcmr.matchers.encoders.pooling import masked_mean
from robustcmr.matchers.encoders.pretrained_files import PretrainedNetwork
from robustcmr.pretrained import longest_text, read_config, text_part
from robustcmr.types import Fragments, TextBatch


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
        config = text_part(read_config(weights, "matcher.text_weights"))
        kind = _text_model(config, weights)
        pooler = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
        self._weights, self._longest = weights, longest_text(config)
        self.backbone = PretrainedNetwork(
            kind,
            config,
            weights,
            "matcher.text_weights",
            lr_factor,
            kept=_bare,
            **({"add_pooling_layer": False} if pooler else {}),
        )
        self.linear = nn.Linear(config.hidden_size, dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, texts: TextBatch) -> Fragments:
        """Encode N captions.

        Args:
            texts: N captions of at most W tokens.

        Returns:
            Fragments (N, W, D), not normalised and zero where padded, and their mean (N, D).

        Raises:
            DataError: the captions are too long for the encoder.
        """
        if self._longest is not None and texts.tokens.shape[1] > self._longest:
            raise DataError(
                f"{self._weights!r} (matcher.text_weights) reads at most {self._longest} tokens, got "
                f"captions of {texts.tokens.shape[1]}; use the tokenizer of the same model"
            )
        with self.backbone.gradients():
            hidden = self.backbone.network(
                input_ids=texts.tokens, attention_mask=texts.mask.long()
            ).last_hidden_state  # (N, W, hidden_size)
        features = self.linear(hidden) * texts.mask.unsqueeze(-1)  # (N, W, D)
        return Fragments(features, texts.mask, masked_mean(features, texts.mask))


def _text_model(config: Any, weights: str) -> Any:
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
            f"{weights!r} (matcher.text_weights) is a {config.model_type} model; expected a text encoder "
            "such as BERT, RoBERTa or DistilBERT, or a CLIP model"
        )
    return kind


def _bare(model: Any) -> nn.Module:
    """Return the network itself, which older releases of transformers wrap for CLIP."""
    bare: nn.Module = getattr(model, "text_model", model)
    return bare
