"""Computes the embeddings: spark-submit jobs/embed.py --config conf/cluster.yaml."""

from specrec.pipeline.submit import submit

if __name__ == "__main__":
    submit("embed.py", ["embed"])
