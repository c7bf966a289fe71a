"""Duplicates: which tracks are one recording, with the evidence."""
