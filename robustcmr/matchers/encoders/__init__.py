"""Encoders shared by matchers."""

from robustcmr.matchers.encoders.bigru import BiGRU
from robustcmr.matchers.encoders.layers import masked_mean
from robustcmr.matchers.encoders.regions import LinearRegions, RegionEncoder

__all__ = ["BiGRU", "LinearRegions", "RegionEncoder", "masked_mean"]
