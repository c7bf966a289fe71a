"""Fits what listeners tell of tracks: spark-submit jobs/factors.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "factors", *sys.argv[1:]], prog_name="specrec")
