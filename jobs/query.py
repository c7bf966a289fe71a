"""Looks for what sounds like many files: spark-submit jobs/query.py --config conf/cluster.yaml --from F --to T."""

from specrec.pipeline.submit import submit_query

if __name__ == "__main__":
    submit_query("query.py")
