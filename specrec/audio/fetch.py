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

from specrec.config import ExtractConfig, StorageConfig
from specrec.errors import TrackError
from specrec.storage import open_store


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A file to analyse, and the tracks that it is the audio of."""

    uri: str
    fingerprint: str
    track_ids: Sequence[str]

    @property
    def name(self) -> str:
        """Last part of the URI, for messages."""
        return self.uri.rpartition("/")[2]


def fetch_ahead(
    files: Iterable[AudioFile], storage: StorageConfig, limits: ExtractConfig
) -> Iterator[tuple[AudioFile, BinaryIO | TrackError]]:
    """Yield every file, in order, with its content, while the next ``prefetch`` are on their way.

    Contents lie in unnamed temporary files, which hold one file after the other: memory does not grow with
    their size.

    Parameters
    ----------
    files : what to fetch.
    storage : how object storage is reached.
    limits : ``prefetch`` and ``max_file_mb`` are used.

    Yields
    ------
    The file, and its content, to be read before the next is asked for; or why it could not be fetched.
    """

    def fetch(file: AudioFile, spool: BinaryIO) -> None:
        open_store(file.uri, storage).fetch(file.uri, spool, limits.max_file_mb * 1_000_000)

    with ExitStack() as stack:
        free = [cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile())) for _ in range(limits.prefetch + 1)]
        threads = stack.enter_context(ThreadPoolExecutor(limits.prefetch))
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
            if error is None:
                yield file, spool
            elif isinstance(error, TrackError):
                yield file, error
            else:
                raise error
            free.append(spool)
