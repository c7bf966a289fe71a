"""Places the tracks on the map: spark-submit jobs/map.py --config conf/cluster.yaml."""

from specrec.pipeline.submit import submit

if __name__ == "__main__":
    submit("map.py", ["map"])
