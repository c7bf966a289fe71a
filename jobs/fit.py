"""Fits the artefacts: spark-submit jobs/fit.py --config conf/cluster.yaml."""

from specrec.pipeline.submit import submit

if __name__ == "__main__":
    submit("fit.py", ["fit"])
