"""Reads the catalogue into tracks: spark-submit jobs/ingest.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "ingest", *sys.argv[1:]], prog_name="specrec")
