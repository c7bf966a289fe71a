"""Writes the recommendations: spark-submit jobs/recommend.py --config conf/cluster.yaml."""

from specrec.pipeline.submit import submit

if __name__ == "__main__":
    submit("recommend.py", ["recommend"])
