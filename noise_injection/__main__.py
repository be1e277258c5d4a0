"""``python -m noise_injection``."""

from __future__ import annotations

import sys

from noise_injection.cli import main

if __name__ == "__main__":
    sys.exit(main())
