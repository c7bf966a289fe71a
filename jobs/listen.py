"""Takes in what people did: spark-submit jobs/listen.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "listen", *sys.argv[1:]], prog_name="specrec")
