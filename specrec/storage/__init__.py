"""Files on disk and in object storage: listing, fetching, and the atomic creation that a lock needs.

:mod:`~specrec.storage.locations` parses what people write. :mod:`~specrec.storage.store` says what a store does and
what a scheme is; there are two, in :mod:`~specrec.storage.local` and :mod:`~specrec.storage.s3`. Everything works
without Spark, and in several threads at once.
"""

from specrec.storage.locations import (
    SCHEMES,
    Place,
    TablesPlace,
    for_delta_rs,
    for_spark,
    join,
    locate,
    open_store,
    parent,
    path_on_disk,
    place,
    scheme_of,
    spark_settings,
    uri_for_delta_rs,
)
from specrec.storage.store import (
    Entry,
    Location,
    Store,
    StoredFile,
    StoredFolder,
    Unusable,
    as_text,
    is_below,
    is_text,
)

__all__ = [
    "SCHEMES",
    "Entry",
    "Location",
    "Place",
    "Store",
    "StoredFile",
    "StoredFolder",
    "TablesPlace",
    "Unusable",
    "as_text",
    "for_delta_rs",
    "for_spark",
    "is_below",
    "is_text",
    "join",
    "locate",
    "open_store",
    "parent",
    "path_on_disk",
    "place",
    "scheme_of",
    "spark_settings",
    "uri_for_delta_rs",
]
