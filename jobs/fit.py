"""Fits the artefacts: spark-submit jobs/fit.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "fit", *sys.argv[1:]], prog_name="specrec")
