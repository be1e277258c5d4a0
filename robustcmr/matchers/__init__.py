"""Similarity models: two sets of fragments in, a score matrix out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.matchers.base import Matcher as Matcher
    from robustcmr.matchers.clip import Clip as Clip
    from robustcmr.matchers.embeddings import Embeddings as Embeddings
    from robustcmr.matchers.omit import Omit as Omit
    from robustcmr.matchers.scan import Scan as Scan
    from robustcmr.matchers.sgraf import Saf as Saf, Sgr as Sgr
    from robustcmr.matchers.two_tower import TwoTower as TwoTower
    from robustcmr.matchers.vse_infty import VseInfty as VseInfty

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "base": "Matcher",
        "clip": "Clip",
        "embeddings": "Embeddings",
        "omit": "Omit",
        "scan": "Scan",
        "sgraf": "Saf Sgr",
        "two_tower": "TwoTower",
        "vse_infty": "VseInfty",
    },
)
