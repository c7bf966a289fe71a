"""Locations: parsed once, where they enter, and then only named, joined and opened.

Every setting that is a place has the type :data:`Place`, so that a configuration holds parsed locations only.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Annotated

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
    if "://" in text.removeprefix("file://"):
        raise StorageError(f"cannot read {text}: use {' or '.join(scheme.example for scheme in SCHEMES)}")
    return DISK.parse(text)


def place(text: str) -> Location:
    """Parse a setting: what is empty stays so, and what is wrong is a ValueError, as pydantic wants it."""
    try:
        return locate(text) if text else Location(text)
    except StorageError as error:
        raise ValueError(str(error)) from None


#: The type of a setting that is a place: loading the configuration parses it.
Place = Annotated[Location, AfterValidator(place)]


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
    return {key: value for scheme in SCHEMES for key, value in scheme.spark(config).items()}


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
    if re.match(r"file:/(?!/[^/])", text):  # file:/a and file:///a; file://host/a is on another machine
        return Path("/" + text.removeprefix("file:").lstrip("/"))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text):
        raise StorageError(f"{text} is not on disk: give a path on disk")
    return Path(os.path.expanduser(text))
