"""Encoders that matchers share."""

from robustcmr.matchers.encoders.bigru import BiGRU
from robustcmr.matchers.encoders.pooling import masked_mean
from robustcmr.matchers.encoders.regions import RegionEncoder

__all__ = ["BiGRU", "RegionEncoder", "masked_mean"]
