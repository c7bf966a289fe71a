"""Analyses new and changed audio: spark-submit jobs/extract_audio.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "extract", *sys.argv[1:]], prog_name="specrec")
