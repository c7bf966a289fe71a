"""Runs every stage in order: spark-submit jobs/nightly.py --config conf/cluster.yaml."""

from specrec.config import STAGES
from specrec.pipeline.submit import submit

if __name__ == "__main__":
    submit("nightly.py", list(STAGES))
