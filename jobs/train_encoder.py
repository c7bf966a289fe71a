"""Trains the encoder: spark-submit jobs/train_encoder.py --config conf/cluster.yaml --out FOLDER --workers 4."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["train-encoder", *sys.argv[1:]], prog_name="specrec")
