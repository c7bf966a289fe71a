"""Trains the encoder: spark-submit jobs/train_encoder.py --config conf/cluster.yaml --out FOLDER --workers 4."""

from specrec.pipeline.submit import submit_training

if __name__ == "__main__":
    submit_training("train_encoder.py")
