"""Writes the recommendations: spark-submit jobs/recommend.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "recommend", *sys.argv[1:]], prog_name="specrec")
