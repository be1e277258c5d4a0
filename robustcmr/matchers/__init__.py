"""Similarity models: two sets of fragments in, a score matrix out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.matchers.base import Matcher
    from robustcmr.matchers.clip import Clip
    from robustcmr.matchers.embeddings import Embeddings
    from robustcmr.matchers.omit import Omit
    from robustcmr.matchers.scan import Scan
    from robustcmr.matchers.sgraf import Saf, Sgr
    from robustcmr.matchers.two_tower import TwoTower
    from robustcmr.matchers.vse_infty import VseInfty

__all__ = [
    "Clip",
    "Embeddings",
    "Matcher",
    "Omit",
    "Saf",
    "Scan",
    "Sgr",
    "TwoTower",
    "VseInfty",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Matcher": "base",
        "Clip": "clip",
        "Embeddings": "embeddings",
        "Omit": "omit",
        "Scan": "scan",
        **dict.fromkeys(("Saf", "Sgr"), "sgraf"),
        "TwoTower": "two_tower",
        "VseInfty": "vse_infty",
    },
)
