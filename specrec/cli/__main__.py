"""``python -m specrec.cli``."""

from specrec.cli import main

main(prog_name="specrec")
