"""Finds the tracks that are one recording: spark-submit jobs/duplicates.py --config conf/cluster.yaml."""

from specrec.pipeline.submit import submit

if __name__ == "__main__":
    submit("duplicates.py", ["duplicates"])
