"""specrec: recommends music by how it sounds, and says why.

The folders follow the data: ``catalogue`` (what there is) → ``audio`` (what it sounds like) → ``embedding``
(one vector a track and space) → ``neighbours`` (who is near) → ``recommend`` (lists with reasons).
``pipeline`` is the edge that reads and writes the tables of ``warehouse``.
"""

__version__ = "0.1.0"
