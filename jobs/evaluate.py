"""Measures the lists of the last night: spark-submit jobs/evaluate.py --config conf/cluster.yaml."""

from specrec.pipeline.submit import submit_evaluation

if __name__ == "__main__":
    submit_evaluation("evaluate.py")
