"""Computes the embeddings: spark-submit jobs/embed.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "embed", *sys.argv[1:]], prog_name="specrec")
