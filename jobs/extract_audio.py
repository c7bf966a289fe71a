"""Analyses new and changed audio: spark-submit jobs/extract_audio.py --config conf/cluster.yaml."""

from specrec.pipeline.submit import submit

if __name__ == "__main__":
    submit("extract_audio.py", ["extract"])
