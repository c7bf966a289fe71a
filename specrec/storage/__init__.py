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
    place,
    scheme_of,
    spark_settings,
    uri_for_delta_rs,
)
from specrec.storage.store import Location, Store, StoredFile

__all__ = [
    "SCHEMES",
    "Location",
    "Place",
    "Store",
    "StoredFile",
    "TablesPlace",
    "for_delta_rs",
    "for_spark",
    "join",
    "locate",
    "open_store",
    "parent",
    "place",
    "scheme_of",
    "spark_settings",
    "uri_for_delta_rs",
]
