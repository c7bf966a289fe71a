"""Query: songs that are not in the catalogue, and the catalogue's tracks that sound like them.

A few are looked for without Spark, and many with it, by the module ``spark``.
"""
