"""Counts of an audit while its pairs are written: decisions, reasons, and examples of each problem."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.audit.decide import ASIDE, NAMES, Codes

EXAMPLES = 5
"""Ids that are named for each problem, at most."""

MOST = 1000
"""Different reasons that are counted apart, at most."""

OTHER = "other problems"


@dataclass
class Tally:
    """Counts so far.

    Attributes:
        pairs: counted.
        decisions: pairs by decision.
        reasons: pairs by reason, by decision.
        examples: the first ids of each reason to set pairs aside.
        first: file and row of the first pair of each.
    """

    pairs: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, table: pa.Table, decision: Codes) -> None:
        """Count pairs with columns id, file, row and reason."""
        self.pairs += len(table)
        for code in np.unique(decision).tolist():
            chosen = table.filter(pa.array(decision == code))
            name = NAMES[code]
            self.decisions[name] += len(chosen)
            counts = self.reasons.setdefault(name, Counter())
            for entry in pc.value_counts(chosen["reason"].combine_chunks()):
                reason = entry["values"].as_py()
                if code == ASIDE:
                    reason = reason.partition(": ")[0]  # the kind, without what was found
                if reason not in counts and len(counts) >= MOST:
                    reason = OTHER
                counts[reason] += entry["counts"].as_py()
                if code == ASIDE and len(self.examples.get(reason, ())) < EXAMPLES:
                    self._name(reason, chosen.filter(pc.equal(chosen["reason"], entry["values"])))

    def _name(self, reason: str, pairs: pa.Table) -> None:
        ids = self.examples.setdefault(reason, [])
        found = pairs.slice(0, EXAMPLES - len(ids))
        ids += [_text(value) for value in found["id"].to_pylist()]
        where = f"{found['file'][0].as_py()} row {found['row'][0].as_py()}"
        self.first.setdefault(reason, where)

    def problems(self) -> list[dict[str, Any]]:
        """Return why pairs were set aside, most pairs first: words, number, first place and some ids."""
        counts = self.reasons.get(NAMES[ASIDE], Counter())
        return [
            {
                "problem": reason,
                "pairs": count,
                "first": self.first[reason],
                "examples": self.examples[reason],
            }
            for reason, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        ]


def _text(value: str | None) -> str:
    return "" if value is None else value
