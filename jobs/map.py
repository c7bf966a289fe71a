"""Places the tracks on the map: spark-submit jobs/map.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "map", *sys.argv[1:]], prog_name="specrec")
