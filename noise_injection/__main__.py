"""``python -m noise_injection``."""

import sys

from noise_injection.cli import main

if __name__ == "__main__":
    sys.exit(main())
