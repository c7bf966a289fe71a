"""Files fetched ahead of the one that is analysed, so that a store's delay is not the job's."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, cast

from specrec.audio.config import ExtractConfig
from specrec.errors import TrackError
from specrec.storage import Location, open_store
from specrec.storage.config import StorageConfig

_GIVE_UP_AFTER = 10


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A file to analyse, and the tracks that it is the audio of.

    Attributes
    ----------
    uri : Location
        Where it lies.
    fingerprint : str
        What tells that it changed.
    track_ids : sequence of str
        The tracks.
    known_hash : str or None
        SHA-256 of the content that was analysed before, where the file may still hold it; None: it does not.

    Examples
    --------
    >>> AudioFile(Location("s3://music/live/song.mp3"), "an ETag", ["t1"]).name
    'song.mp3'
    """

    uri: Location
    fingerprint: str
    track_ids: Sequence[str]
    known_hash: str | None = None

    @property
    def name(self) -> str:
        """Last part of the URI, for messages: in one line.

        Examples
        --------
        >>> AudioFile("s3://music/Abba/Waterloo.mp3", "e1", ["a"]).name
        'Waterloo.mp3'
        """
        return "".join(letter if letter.isprintable() else "?" for letter in self.uri.rpartition("/")[2])


def fetch_ahead(
    files: Iterable[AudioFile], storage: StorageConfig, limits: ExtractConfig, root: Location | None = None
) -> Iterator[tuple[AudioFile, BinaryIO | TrackError]]:
    """Yield every file, in order, with its content, while the next ``prefetch`` are on their way.

    Contents lie in unnamed temporary files, which hold one file after the other: memory does not grow with
    their size. A store that failed for several files in a row is asked for no other one of `files`.

    Parameters
    ----------
    files : iterable of AudioFile
        What to fetch.
    storage : StorageConfig
        How object storage is reached.
    limits : ExtractConfig
        ``prefetch`` and ``max_file_mb`` are used.
    root : Location or None
        The folder that no link may lead out of; None: there is none.

    Yields
    ------
    tuple of AudioFile and binary file or TrackError
        The file, and its content, to be read before the next is asked for; or why it could not be fetched.
    """
    failures = 0

    def fetch(file: AudioFile, spool: BinaryIO) -> None:
        if failures >= _GIVE_UP_AFTER:
            raise TrackError(
                "storage_error", f"not asked for, since the store failed for {failures} files in a row"
            )
        open_store(file.uri, storage, root).fetch(file.uri, spool, limits.max_file_mb * 1_000_000)

    with ExitStack() as stack:
        free = [cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile())) for _ in range(limits.prefetch + 1)]
        threads = stack.enter_context(ThreadPoolExecutor(limits.prefetch))
        stack.callback(threads.shutdown, cancel_futures=True)  # where nobody asks for the rest
        waiting: deque[tuple[AudioFile, BinaryIO, Future[None]]] = deque()
        source = iter(files)
        while True:
            for file in islice(source, len(free)):
                spool = free.pop()
                waiting.append((file, spool, threads.submit(fetch, file, spool)))
            if not waiting:
                return
            file, spool, arrival = waiting.popleft()
            error = arrival.exception()
            failures = failures + 1 if isinstance(error, TrackError) and error.code == "storage_error" else 0
            if error is None:
                yield file, spool
            elif isinstance(error, TrackError):
                yield file, error
            else:
                raise error
            spool.truncate(0)  # a large file does not lie here until a small one follows it
            free.append(spool)
