"""Measures the lists of the last night: spark-submit jobs/evaluate.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]], prog_name="specrec")
