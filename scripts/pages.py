"""Write into README.md and docs what follows from code or results: python scripts/pages.py."""

from __future__ import annotations

from pathlib import Path

import cards
import leaderboard
import page_tables
import reference_pages
from leaderboard_page import write


def pages() -> dict[Path, str]:
    """Return the text that each page of cards and reference should have."""
    return {
        reference_pages.COMMANDS: reference_pages.commands(),
        reference_pages.CONFIGURATION: reference_pages.configuration(),
        **cards.pages(),
    }


if __name__ == "__main__":
    leaderboard.write_pages()
    for path, text in pages().items():
        write(text, path)
    page_tables.main()
