"""Query: audio files become lists of the catalogue's tracks that sound like them, without Spark."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from specrec.audio.fetch import AudioFile, fetch_ahead
from specrec.audio.isolated import Analyst
from specrec.config import Config
from specrec.embedding.models import Model, hear
from specrec.errors import SpecrecError, TrackError
from specrec.query.catalogue import Answer, Catalogue, Song
from specrec.query.checks import check_query
from specrec.settings import System
from specrec.storage import Location, locate
from specrec.warehouse.reader import Reader

#: Songs that are looked for in one pass over the vectors.
_SONGS_AT_ONCE = 16


def query(
    files: Iterable[str], config: Config, analyst: Analyst, system: System, top: int
) -> Iterator[tuple[str, Answer | SpecrecError | TrackError]]:
    """Yield each file with its list, or with why it has none, in order.

    Parameters
    ----------
    files : iterable of str
        Paths on disk, or ``s3://`` URIs.
    config : Config
        What the night ran with.
    analyst : Analyst
        Analyses them, in a process of its own.
    system : str
        Whose space is searched.
    top : int
        Length of a list, at most.

    Raises
    ------
    SpecrecError
        If the warehouse cannot be read or was made with another configuration: then no file has an answer.
    """
    check_query(config, system)
    catalogue = Catalogue(Reader(config.warehouse, config.storage), config, system)
    waiting = iter(files)
    while some := list(islice(waiting, _SONGS_AT_ONCE)):
        heard = dict(_songs(some, config, analyst, catalogue.hearing_models))
        songs = {file: found for file, found in heard.items() if isinstance(found, Song)}
        answers = catalogue.answer(songs, top) if songs else {}
        for file in some:
            found = heard[file]
            yield file, answers[file] if isinstance(found, Song) else found


def _songs(
    files: list[str], config: Config, analyst: Analyst, hearing_models: Collection[Model]
) -> Iterator[tuple[str, Song | SpecrecError | TrackError]]:
    named: dict[str, Location] = {}
    for file in dict.fromkeys(files):
        try:
            named[file] = locate(file)
        except SpecrecError as error:
            yield file, error
    audio = (AudioFile(uri, "", [file]) for file, uri in named.items())
    for fetched, content in fetch_ahead(audio, config.storage, config.extract):
        (file,) = fetched.track_ids
        try:
            if isinstance(content, TrackError):
                raise TrackError(content.code, f"{fetched.name}: {content.message}")
            analysis = analyst.analyse(content, fetched.name)
            yield file, Song(analysis, {of.name: hear(of, analyst, content, fetched.name) for of in hearing_models})
        except TrackError as error:
            yield file, error
