"""Fill the tables of README.md and docs/ between their marks.

    python scripts/pages.py      # after a change of scripts/results or of the registered parts

``<!-- table: NAME -->`` opens a table and ``<!-- end -->`` closes it; what stands between is replaced. The
names are those of ``TABLES`` in result_tables.py, ``names`` for the parts that the package registers, and
``wrong_pair`` and ``first_run`` for the picture and the output of the first training.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

from leaderboard_page import table
from methods_page import methods
from result_tables import TABLES
from run_table import RESULTS

from robustcmr import plugins
from robustcmr.reporting.sentences import measured_sentences
from robustcmr.reporting.tables import measures_table, render

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")))
BLOCK = re.compile(r"<!-- table: (\w+) -->\n.*?<!-- end -->", re.S)


def names() -> str:
    """Matchers, methods and data sets of this package, as `--matcher`, `--method` and `--data` take them."""

    def ours(registry: plugins.Registry) -> list[str]:
        return [
            name for name in registry.names() if (registry.announced(name) or "").startswith("robustcmr.")
        ]

    parts = {
        "matchers": ours(plugins.matchers),
        "methods for mismatched pairs": methods("pairs"),
        "methods for wrong labels": methods("labels"),
        "data": ours(plugins.datasets),
    }
    return table(
        [["what", "names"], *([title, ", ".join(f"`{n}`" for n in found)] for title, found in parts.items())]
    )


def first_run() -> str:
    """What `robustcmr train --noise 0.4` printed, of the run whose results readme_pictures.py kept."""
    results = json.loads((RESULTS / "first_run.json").read_text(encoding="utf-8"))
    rows = (row.rstrip() for row in render(measures_table(results["splits"])).splitlines())
    sentences = [line for sentence in measured_sentences(results) for line in textwrap.wrap(sentence, 92)]
    return "\n".join(["```text", *filter(None, rows), "", *sentences, "```", ""])


def wrong_pair() -> str:
    """The picture of a wrong pair of that run, described, for a page beside the folder ``docs``."""
    shown = json.loads((RESULTS / "first_run.json").read_text(encoding="utf-8"))["wrong_pair"]
    alt = (
        f"The caption “{shown['caption']}” came with a picture that does not show it; the suggested one does"
    )
    right = f"{shown['suggestions_right']:.0%} of the {shown['suspects']:,} captions it suspects"
    return (
        f"![{alt}](docs/images/wrong_pair.png)\n\n"
        "The demo below found this pair without being told which pairs are wrong. It suggests the true\n"
        f"picture, among {shown['images']:,}, for {right}.\n"
    )


def filled(text: str) -> str:
    """Return a page with every marked table written anew; raise KeyError of a name that is no table's."""
    tables = {**TABLES, "names": names, "first_run": first_run, "wrong_pair": wrong_pair}

    def block(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n\n{tables[found[1]]()}\n<!-- end -->"

    return BLOCK.sub(block, text)


def main() -> None:
    """Rewrite the pages whose tables have changed."""
    for path in PAGES:
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            path.write_text(new, encoding="utf-8")
            print(f"written to {path.relative_to(ROOT)}")
