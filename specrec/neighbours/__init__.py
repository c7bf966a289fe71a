"""Neighbours: the nearest tracks of every track in each space, by cosine."""
