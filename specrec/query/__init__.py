"""Query: songs that are not in the catalogue, and the catalogue's tracks that sound like them; without Spark."""
