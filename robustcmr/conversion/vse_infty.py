"""The layout of VSE infinity on region features, with captions read by a bi-GRU: image and text encoder.

References:
    Chen et al., "Learning the Best Pooling Strategy for Visual Semantic Embedding", CVPR 2021.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from robustcmr.conversion.keys import (
    GRU,
    LINEAR,
    NORM,
    WEIGHT,
    KeyMap,
    Plan,
    both_ways,
    refuse_backbones,
    renaming,
    shape_of,
)

PARTS = ("img_enc", "txt_enc")

_POOLING_READERS = ("gru", "rnn")  # names of the pooling's GRU in the release and in re-implementations
_UNUSED = "the last layer of the released network is not normalised"


def plan(weights: Mapping[str, Tensor]) -> Plan:
    """Return sizes and key map of a released VSE infinity network."""
    refuse_backbones(weights)
    dim, width = shape_of(weights, "img_enc.fc.weight", 2)
    words, word_dim = shape_of(weights, "txt_enc.embed.weight", 2)
    options: dict[str, object] = {
        "dim": dim,
        "image_encoder": "linear",
        "text_encoder": "bigru",
        "word_dim": word_dim,
    }
    renamed = {
        **renaming(("img_enc.fc", "regions.linear", LINEAR), ("txt_enc.embed", "words.embedding", WEIGHT)),
        **both_ways("txt_enc.rnn", "words.reader", "words.reverse_reader"),
    }
    for part, ours in (("img_enc", "region_pooling"), ("txt_enc", "word_pooling")):
        there = [name for name in _POOLING_READERS if f"{part}.gpool.{name}.weight_ih_l0" in weights]
        reader = f"{part}.gpool.{(there or _POOLING_READERS)[0]}"
        both = (*GRU, *(f"{name}_reverse" for name in GRU))
        renamed |= renaming(
            (reader, f"{ours}.reader", both), (f"{part}.gpool.linear", f"{ours}.linear", WEIGHT)
        )
    folded: dict[str, str] = {}
    without_effect: dict[str, str] = {}
    if any(key.startswith("img_enc.mlp.") for key in weights):
        options["image_encoder"] = "regions"
        options["region_hidden"] = shape_of(weights, "img_enc.mlp.layers.0.weight", 2)[0]
        renamed |= renaming(
            ("img_enc.mlp.layers.0", "regions.network.0", WEIGHT),
            ("img_enc.mlp.bns.0", "regions.network.1", NORM),
            ("img_enc.mlp.layers.1", "regions.network.3", LINEAR),
        )
        folded["img_enc.mlp.layers.0.bias"] = "regions.network.1.running_mean"
        without_effect = {f"img_enc.mlp.bns.1.{name}": _UNUSED for name in NORM}
    return Plan("vse_infty", options, width, words, None, KeyMap(renamed, folded, without_effect))
