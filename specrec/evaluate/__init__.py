"""Evaluate: what the lists and their explanations are worth, with intervals, beside trivial baselines."""
