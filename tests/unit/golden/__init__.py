"""What small inputs come to, kept in values.json: a change of it asks for a new version.

Results are computed anew when a version in ``specrec/*/config.py`` is raised, and only then. So whoever changes
what the code computes must raise one, and this is what reminds of it. Values hold on any processor and with any
build of the libraries: numbers are compared within a tolerance, and only text and what is counted is equal.

=============  =============================================================================
`inputs`       songs, rows of tables and vectors, the same everywhere
`things`       what is computed of them, and which version it belongs to
`digests`      an array as some numbers, and how two of them are compared
`record`       the file: what it says, how it is compared, when it may be renewed
`renew.py`     the command that renews it: ``python tests/unit/golden/renew.py``
=============  =============================================================================
"""
