"""Charts, tables and pages of what runs have written; nothing here trains.

Imported lazily because matplotlib and scipy are slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.reporting.card import model_card as model_card
    from robustcmr.reporting.charts import Chart as Chart, line_chart as line_chart
    from robustcmr.reporting.compared import Comparison as Comparison
    from robustcmr.reporting.comparison import compare as compare, with_published as with_published
    from robustcmr.reporting.published import published_rows as published_rows

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "card": "model_card",
        "charts": "Chart line_chart",
        "compared": "Comparison",
        "comparison": "compare with_published",
        "published": "published_rows",
    },
)
