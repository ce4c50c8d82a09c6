"""``python -m hutch`` is the ``hutch`` command."""

from __future__ import annotations

import sys

from hutch.cli import main

if __name__ == "__main__":
    sys.exit(main())
