"""Which kind of source a catalogue is, and where its audio lies. No Spark."""

from __future__ import annotations

from specrec.catalogue.config import CatalogueConfig
from specrec.errors import CatalogueError, StorageError
from specrec.storage import Location, Store, open_store, parent
from specrec.storage.config import StorageConfig

#: The endings by which a catalogue's kind is told; what is delimited text may be packed by gzip.
_ENDINGS = {"csv": (".csv", ".tsv"), "parquet": (".parquet",), "delta": (".delta",)}


def kind_by_ending(path: Location) -> str | None:
    """Return ``csv``, ``parquet`` or ``delta`` by the ending of a path; None if it has another, or none.

    Examples
    --------
    >>> kind_by_ending(Location("/music/tracks.TSV.gz")), kind_by_ending(Location("/music"))
    ('csv', None)
    """
    name = path.lower().removesuffix(".gz")
    return next((kind for kind, endings in _ENDINGS.items() if name.endswith(endings)), None)


def source_format(config: CatalogueConfig, is_folder_of_audio: bool) -> str:
    """Return ``csv``, ``parquet``, ``delta`` or ``folder``.

    Examples
    --------
    >>> source_format(CatalogueConfig(path="tracks.csv"), is_folder_of_audio=False)
    'csv'
    >>> source_format(CatalogueConfig(path="/music"), is_folder_of_audio=True)
    'folder'
    """
    if config.format != "auto":
        return config.format
    return kind_by_ending(config.path) or ("folder" if is_folder_of_audio else "delta")


def audio_root(config: CatalogueConfig) -> Location:
    """Return the root under which all audio lies."""
    if config.audio_root is not None:
        return config.audio_root
    return config.path if source_format(config, is_folder_of_audio=True) == "folder" else parent(config.path)


def find_source(config: CatalogueConfig, storage: StorageConfig) -> str:
    """Return the catalogue's kind, as :func:`source_format` does, having looked at the path where need be.

    Raises
    ------
    CatalogueError
        If there is nothing at the path.
    StorageError
        If the store cannot be reached.
    """
    store = open_store(config.path, storage)
    kind = source_format(config, is_folder_of_audio=False)
    guessed = kind == "delta" and config.format == "auto"
    if guessed and not any(folder.endswith("/_delta_log") for folder in store.folders(config.path)):
        kind = "folder"
    if kind == "folder":
        if _is_file(store, config.path):
            raise CatalogueError(
                f"what {config.path} is, its ending does not tell: set catalogue.format to csv or parquet, or "
                "save it as one of these"
            )
        store.check(config.path)
    elif not store.exists(config.path):
        raise CatalogueError(f"there is no catalogue {config.path}: set catalogue.path")
    return kind


def _is_file(store: Store, place: Location) -> bool:
    try:
        store.size(place)
    except StorageError:
        return False
    return True
