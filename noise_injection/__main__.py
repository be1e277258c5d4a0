"""``python -m noise_injection``."""

import sys

from noise_injection.cli import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("noise_injection: stopped by Ctrl-C\n")
        sys.exit(130)
