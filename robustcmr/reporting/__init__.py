"""Charts, tables and pages of what runs have written; nothing here trains.

Imported lazily because matplotlib and scipy are slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.reporting.card import model_card
    from robustcmr.reporting.charts import Chart, line_chart
    from robustcmr.reporting.compared import Comparison
    from robustcmr.reporting.comparison import compare, with_published
    from robustcmr.reporting.published import published_rows

__all__ = ["Chart", "Comparison", "compare", "line_chart", "model_card", "published_rows", "with_published"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Chart": "charts",
        "Comparison": "compared",
        "compare": "comparison",
        "line_chart": "charts",
        "model_card": "card",
        "published_rows": "published",
        "with_published": "comparison",
    },
)
