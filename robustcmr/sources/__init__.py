"""People's own pairs, read from the formats they are kept in and written back in the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.sources.guess import open_source as open_source
    from robustcmr.sources.records import Columns as Columns, Shard as Shard, Source as Source

__getattr__, __dir__, __all__ = attach(__name__, {"guess": "open_source", "records": "Columns Shard Source"})
