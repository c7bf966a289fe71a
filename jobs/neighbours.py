"""Finds the nearest tracks: spark-submit jobs/neighbours.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "neighbours", *sys.argv[1:]], prog_name="specrec")
