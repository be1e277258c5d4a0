"""Build the encoders of a fragment matcher from its options."""

from __future__ import annotations

from torch import nn

from robustcmr.matchers.encoders.bigru import BiGRU
from robustcmr.matchers.encoders.linear import LinearRegions
from robustcmr.matchers.encoders.options import FragmentOptions
from robustcmr.matchers.encoders.regions import RegionEncoder
from robustcmr.types import DataSpec


def build_image_encoder(options: FragmentOptions, spec: DataSpec) -> nn.Module:
    """Build the configured image encoder, ``ImageBatch -> Fragments``."""
    if options.image_encoder == "clip" and options.image_weights is not None:
        from robustcmr.matchers.encoders.clip_fragments import ClipPatches  # loads transformers

        return ClipPatches(options.image_weights, options.dim, options.backbone_lr)
    if options.image_encoder == "linear":
        return LinearRegions(spec.feature_width, options.dim)
    return RegionEncoder(spec.feature_width, options.dim, options.region_hidden)


def build_text_encoder(options: FragmentOptions, spec: DataSpec) -> nn.Module:
    """Build the configured text encoder, ``TextBatch -> Fragments``."""
    if options.text_encoder != "bigru" and options.text_weights is not None:
        from robustcmr.matchers.encoders.pretrained_text import PretrainedWords  # loads transformers

        return PretrainedWords(options.text_weights, options.dim, options.backbone_lr)
    return BiGRU(
        spec.vocabulary_size,
        spec.padding_index,
        options.word_dim,
        options.dim,
        dropout=options.word_dropout,
        words=spec.words,
        word_vectors=options.word_vectors,
    )
