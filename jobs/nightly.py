"""Runs every stage in order: spark-submit jobs/nightly.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", *sys.argv[1:]], prog_name="specrec")
