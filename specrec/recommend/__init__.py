"""Recommend: lists that services read, each entry with a score, its exact parts, and a sentence."""
