"""Encoders shared by matchers."""

from robustcmr.matchers.encoders.bigru import BiGRU
from robustcmr.matchers.encoders.build import build_image_encoder, build_text_encoder
from robustcmr.matchers.encoders.linear import LinearRegions
from robustcmr.matchers.encoders.options import FragmentOptions
from robustcmr.matchers.encoders.pooling import masked_mean
from robustcmr.matchers.encoders.regions import RegionEncoder

__all__ = [
    "BiGRU",
    "FragmentOptions",
    "LinearRegions",
    "RegionEncoder",
    "build_image_encoder",
    "build_text_encoder",
    "masked_mean",
]
