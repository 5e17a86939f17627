"""Florin: `python -m florin`, the command."""

import sys

from florin.cli import main

if __name__ == "__main__":
    sys.exit(main())
