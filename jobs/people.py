"""Makes the lists of people: spark-submit jobs/people.py --config conf/cluster.yaml."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["nightly", "--stage", "people", *sys.argv[1:]], prog_name="specrec")
