"""Renew values.json and defaults.json after a version was raised: ``python tests/unit/golden/renew.py``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from golden.record import renew  # noqa: E402

if __name__ == "__main__":
    sys.exit("\n".join(renew()) or None)
