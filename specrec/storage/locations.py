"""Locations: parsed once, where they enter, and then only named, joined and opened.

Every setting that is a place has the type :data:`Place`, so that a configuration holds parsed locations only.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator

from specrec.errors import StorageError
from specrec.storage.config import StorageConfig
from specrec.storage.local import DISK
from specrec.storage.s3 import S3
from specrec.storage.store import Location, Scheme, Store

#: Every kind of place. What has no scheme of another kind is a path on disk.
SCHEMES: tuple[Scheme, ...] = (DISK, S3)


def locate(text: str) -> Location:
    """Parse what a person or a file calls a place.

    Parameters
    ----------
    text : str
        A path, absolute, relative or below ``~``, ``file://``, or a URI such as ``s3://bucket/prefix``.

    Returns
    -------
    Location

    Raises
    ------
    StorageError
        If there is no such scheme.

    Examples
    --------
    >>> locate("s3a://bucket/warehouse/")
    's3://bucket/warehouse'
    >>> locate("/music/../clips")
    '/clips'
    """
    for scheme in SCHEMES:
        for beginning in (scheme.prefix, *scheme.aliases):
            if text.startswith(beginning):
                return scheme.parse(scheme.prefix + text.removeprefix(beginning))
    path = _path_in(text)
    if path is None or "://" in path:
        raise StorageError(f"cannot read {text}: use {' or '.join(scheme.example for scheme in SCHEMES)}")
    return DISK.parse(path)


def place(text: str) -> Location:
    """Parse a setting: what is empty stays so, and what is wrong is a ValueError, as pydantic wants it."""
    try:
        return locate(text) if text else Location(text)
    except StorageError as error:
        raise ValueError(str(error)) from None


#: The type of a setting that is a place: loading the configuration parses it.
Place = Annotated[Location, AfterValidator(place)]


#: What delta-rs reads otherwise than it is written in the name of a folder: on any store, what looks like the code
#: of a character in a URL; on a disk, what it cannot make a URL of. Control characters it refuses everywhere.
_MISREAD_ANYWHERE = re.compile(r"%[0-9A-Fa-f]{2}|[\x00-\x1f\x7f]")
_MISREAD_ON_DISK = re.compile(r"[\[\]|^\\]")
_MISREAD_IN_A_KEY = re.compile(r"(?<=/)(?:\.{1,2})?(?=/|$)")


def uri_for_delta_rs(location: Location) -> str:
    """Return a location as delta-rs is given it: it takes paths and URLs, and must not take one for the other.

    Raises
    ------
    StorageError
        If delta-rs would take it for another place, or for none. Spark would not; tables are read by both.

    Examples
    --------
    >>> uri_for_delta_rs(Location("/music/who?")), uri_for_delta_rs(Location("s3://bucket/who?"))
    ('/music/who?', 's3://bucket/who%3F')
    """
    scheme = scheme_of(location)
    found = _MISREAD_ANYWHERE.search(location)
    if found is None:
        of_kind = _MISREAD_ON_DISK if scheme.is_tree else _MISREAD_IN_A_KEY
        found = of_kind.search(location, len(scheme.prefix))
    if found is not None:
        what = repr(found[0]) if found[0].strip(".") else "an empty part, or one of dots alone"
        raise StorageError(
            f"tables cannot lie in {location!r}: its name holds {what}, which Delta's libraries do not all read "
            "as it is written. Choose another place"
        )
    return location if scheme.is_tree else scheme.prefix + quote(location.removeprefix(scheme.prefix))


def place_of_tables(location: Location) -> Location:
    """Check a setting that is a place of tables: what delta-rs misreads is a ValueError."""
    try:
        if location:
            uri_for_delta_rs(location)
    except StorageError as error:
        raise ValueError(str(error)) from None
    return location


#: The type of a setting that is a place where our tables lie.
TablesPlace = Annotated[Place, AfterValidator(place_of_tables)]


def scheme_of(location: Location) -> Scheme:
    """Return the kind of place that a location is.

    Raises
    ------
    StorageError
        If it is none, as where nothing was given.
    """
    for scheme in SCHEMES:
        if location.startswith(scheme.prefix):
            return scheme
    raise StorageError(f"{location!r} is no place: use {' or '.join(scheme.example for scheme in SCHEMES)}")


def for_delta_rs(location: Location, config: StorageConfig) -> dict[str, str]:
    """Return the options with which delta-rs reaches a location; credentials come from the environment."""
    return scheme_of(location).delta_rs(config)


def for_spark(location: Location) -> str:
    """Return a location as Spark's file systems name it (``s3a://…``, ``file:/…``)."""
    scheme = scheme_of(location)
    return scheme.spark_prefix + location.removeprefix(scheme.prefix)


def spark_settings(config: StorageConfig) -> dict[str, str]:
    """Return the ``spark.*`` settings that reach every kind of place; credentials come from the environment."""
    own = {key: value for scheme in SCHEMES for key, value in scheme.spark(config).items()}
    return own | _CHECKED_PAGES


#: Spark writes a checksum beside each page of a Parquet file, and by default believes the page all the same.
_CHECKED_PAGES = {
    "spark.hadoop.parquet.page.write-checksum.enabled": "true",
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
}


def join(folder: Location, *names: str) -> Location:
    """Return the location of what lies below a folder."""
    return Location(posixpath.join(folder, *names))


def parent(location: Location) -> Location:
    """Return the folder that a file lies in; of the root of a disk, or a bucket, itself."""
    root = scheme_of(location).prefix
    above, slash, _ = location.removeprefix(root).rpartition("/")
    return Location(root + above) if slash or root == DISK.prefix else location


def open_store(location: Location, config: StorageConfig, root: Location | None = None) -> Store:
    """Return the store that a location belongs to.

    Parameters
    ----------
    location : Location
        A file or folder.
    config : StorageConfig
        How the store is reached.
    root : Location or None
        The folder that no link may lead out of, unless ``storage.follow_links_out`` allows it; None: there is none.
    """
    return scheme_of(location).open(config, root)


def path_on_disk(text: str) -> Path:
    """Return what a person calls a path, for what only a disk can hold.

    Parameters
    ----------
    text : str
        A path, absolute, relative or below ``~``, or ``file:///…``.

    Raises
    ------
    StorageError
        If it is empty, or names another kind of place.

    Examples
    --------
    >>> path_on_disk("file:///music/encoder"), path_on_disk("encoder")
    (PosixPath('/music/encoder'), PosixPath('encoder'))
    """
    if not text:
        raise StorageError("an empty path names nothing: give a path on disk")
    path = _path_in(text)
    if path is None:
        raise StorageError(f"{text} is not on disk: give a path on disk")
    return Path(os.path.expanduser(path))


def _path_in(text: str) -> str | None:
    """Return the path on disk that a text is, or is the URL of; None if it is the URL of another kind of place.

    Examples
    --------
    >>> _path_in("file:/music"), _path_in("music"), _path_in("file://host/music"), _path_in("s3:/bucket/music")
    ('/music', 'music', None, None)
    """
    if re.match(r"file:/(?!/[^/])", text):  # file:/a and file:///a; file://host/a is on another machine
        return "/" + text.removeprefix("file:").lstrip("/")
    return None if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text) else text
