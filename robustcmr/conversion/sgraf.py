"""The layout of SGRAF, also of NCR, DECL, L2RM and others: image, text and similarity encoder.

References:
    Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from robustcmr.conversion.keys import (
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
from robustcmr.errors import CheckpointError

PARTS = ("img_enc", "txt_enc", "sim_enc")

_SOFTMAX = "shifts all logits of a softmax alike"
_STEP = re.compile(r"sim_enc\.SGR_module\.(\d+)\.")


def plan(weights: Mapping[str, Tensor]) -> Plan:
    """Return sizes and key map of a released SGR or SAF network; its modules decide which it is."""
    refuse_backbones(weights)
    steps = {int(match.group(1)) for key in weights if (match := _STEP.match(key)) is not None}
    filters = any(key.startswith("sim_enc.SAF_module.") for key in weights)
    if bool(steps) == filters:
        there = "both SGR_module and" if filters else "neither SGR_module nor"
        raise CheckpointError(f"the similarity encoder has {there} SAF_module; expected one of the two")
    if steps != set(range(len(steps))):
        raise CheckpointError(
            f"the similarity encoder has SGR_module {', '.join(map(str, sorted(steps)[:5]))}, expected them "
            "numbered from 0 without gaps"
        )
    dim, width = shape_of(weights, "img_enc.fc.weight", 2)
    words, word_dim = shape_of(weights, "txt_enc.embed.weight", 2)
    (positions,) = shape_of(weights, "sim_enc.v_global_w.embedding_local.1.running_mean", 1)
    options: dict[str, object] = {
        "dim": dim,
        "image_encoder": "linear",
        "text_encoder": "bigru",
        "word_dim": word_dim,
        "sim_dim": shape_of(weights, "sim_enc.sim_tranloc_w.weight", 2)[0],
        "smooth": 9.0,
        "region_norm": "position",
    }
    if filters:
        return Plan("saf", options, width, words, positions, _saf_keys())
    options["steps"] = len(steps)
    return Plan("sgr", options, width, words, positions, _sgr_keys(len(steps)))


_SHARED = {
    **renaming(
        ("img_enc.fc", "regions.linear", LINEAR),
        ("txt_enc.embed", "words.embedding", WEIGHT),
        ("sim_enc.v_global_w.embedding_local.0", "similarity.image_attention.local", LINEAR),
        ("sim_enc.v_global_w.embedding_local.1", "similarity.image_attention.local_norm", NORM),
        ("sim_enc.v_global_w.embedding_global.0", "similarity.image_attention.whole", WEIGHT),
        ("sim_enc.v_global_w.embedding_global.1", "similarity.image_attention.whole_norm", NORM),
        ("sim_enc.v_global_w.embedding_common.0", "similarity.image_attention.common", WEIGHT),
        ("sim_enc.t_global_w.embedding_local.0", "similarity.text_attention.local", LINEAR),
        ("sim_enc.t_global_w.embedding_global.0", "similarity.text_attention.whole", LINEAR),
        ("sim_enc.t_global_w.embedding_common.0", "similarity.text_attention.common", WEIGHT),
        ("sim_enc.sim_tranloc_w", "similarity.local", LINEAR),
        ("sim_enc.sim_tranglo_w", "similarity.whole", LINEAR),
        ("sim_enc.sim_eval_w", "similarity.evaluate", LINEAR),
    ),
    **both_ways("txt_enc.cap_rnn", "words.reader", "words.reverse_reader"),
}
_FOLDED = {"sim_enc.v_global_w.embedding_global.0.bias": "similarity.image_attention.whole_norm.running_mean"}
_WITHOUT_EFFECT = {
    "sim_enc.v_global_w.embedding_common.0.bias": _SOFTMAX,
    "sim_enc.t_global_w.embedding_common.0.bias": _SOFTMAX,
}


def _sgr_keys(steps: int) -> KeyMap:
    renamed, without_effect = dict(_SHARED), dict(_WITHOUT_EFFECT)
    for step in range(steps):
        theirs, ours = f"sim_enc.SGR_module.{step}", f"steps.{step}"
        renamed |= renaming(
            (f"{theirs}.graph_query_w", f"{ours}.query", LINEAR),
            (f"{theirs}.graph_key_w", f"{ours}.key", WEIGHT),
            (f"{theirs}.sim_graph_w", f"{ours}.graph", LINEAR),
        )
        without_effect[f"{theirs}.graph_key_w.bias"] = _SOFTMAX
    return KeyMap(renamed, _FOLDED, without_effect)


def _saf_keys() -> KeyMap:
    own = renaming(
        ("sim_enc.SAF_module.attn_sim_w", "gate", WEIGHT), ("sim_enc.SAF_module.bn", "gate_norm", NORM)
    )
    folded = {**_FOLDED, "sim_enc.SAF_module.attn_sim_w.bias": "gate_norm.running_mean"}
    return KeyMap({**_SHARED, **own}, folded, _WITHOUT_EFFECT)
