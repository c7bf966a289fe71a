"""The Delta tables: their schemas, how they are read and committed, and the lock that one run holds."""
