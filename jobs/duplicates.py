"""Finds the tracks that are one recording: spark-submit jobs/duplicates.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "duplicates", *sys.argv[1:]], prog_name="specrec")
