"""`python -m textvae` is the `textvae` command."""

from __future__ import annotations

import sys

from textvae.cli import main

if __name__ == "__main__":
    sys.exit(main())
