"""Keeps the tables fast to read: spark-submit jobs/maintain.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["maintain", *sys.argv[1:]], prog_name="specrec")
