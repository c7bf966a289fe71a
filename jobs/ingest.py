"""Reads the catalogue into tracks: spark-submit jobs/ingest.py --config conf/cluster.yaml."""

from specrec.pipeline.submit import submit

if __name__ == "__main__":
    submit("ingest.py", ["ingest"])
