"""What a cluster's executors import: they are shipped neither delta-rs nor what only the driver needs."""

from __future__ import annotations

import subprocess
import sys

#: Modules whose functions Spark calls on executors, and so imports there (encoders train on the driver's packages).
SHIPPED = (
    "specrec.audio.spark",
    "specrec.catalogue.spark",
    "specrec.duplicates.spark",
    "specrec.embedding.spark",
    "specrec.embedding.spaces",
    "specrec.map.spark",
    "specrec.neighbours.spark",
    "specrec.query.spark",
    "specrec.recommend.spark",
)


def test_what_executors_import_needs_no_delta_rs() -> None:
    code = (
        "import importlib, sys\n"
        "sys.modules['deltalake'] = None\n"  # as if it were not installed
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *SHIPPED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
