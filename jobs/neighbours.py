"""Finds the nearest tracks: spark-submit jobs/neighbours.py --config conf/cluster.yaml."""

from specrec.pipeline.submit import submit

if __name__ == "__main__":
    submit("neighbours.py", ["neighbours"])
