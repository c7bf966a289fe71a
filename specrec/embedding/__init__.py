"""Embedding: one vector a track in each space, from artefacts that are fitted to the catalogue and versioned."""
