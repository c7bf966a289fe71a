"""The map: two coordinates a track, and clusters with names; fitted on a sample, on which all others are placed."""
