"""Looks for what sounds like many files: spark-submit jobs/query.py --config conf/cluster.yaml --from F --to T."""

import sys

from specrec.cli import main

if __name__ == "__main__":
    main(["query-many", *sys.argv[1:]], prog_name="specrec")
