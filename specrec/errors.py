"""What can go wrong, in two kinds: an error that ends a run, and one that costs a single track."""

import re


class SpecrecError(Exception):
    """Ends a run. Its message is one line that says what happened and what to do.

    Attributes
    ----------
    exit_status : int
        What the command ends with.
    """

    exit_status = 2


class ConfigError(SpecrecError):
    """The configuration is wrong; nothing was read or written."""


class CatalogueError(SpecrecError):
    """The catalogue cannot be read, lacks a required column, or shrank beyond the configured bound."""


class EventsError(SpecrecError):
    """Events cannot be read, or more of them than ``listeners.max_refused_share`` allows cannot be used."""


class StorageError(SpecrecError):
    """A store (disk or object storage) cannot be reached or refuses access."""


class WarehouseLockedError(SpecrecError):
    """Another run holds the warehouse."""


class ExtractionError(SpecrecError):
    """More tracks failed than ``extract.max_failed_share`` allows."""


class UnaccountedError(SpecrecError):
    """All stages of a night ended well, and yet a track has no list and nothing says why."""

    exit_status = 3


class TrackError(Exception):
    """Costs one track, which goes to ``quarantine`` with this code and message.

    Parameters
    ----------
    code : str
        Stable, one of :data:`TRACK_ERROR_CODES`.
    message : str
        One line that a person can act on.
    """

    def __init__(self, code: str, message: str) -> None:
        if code not in TRACK_ERROR_CODES:
            raise ValueError(f"unknown track error code {code!r}")
        super().__init__(message)
        self.code = code
        self.message = message


def first_line(error: BaseException | str) -> str:
    """Return what an exception says, in one line of 500 characters at most; its type if it says nothing.

    Examples
    --------
    >>> first_line(OSError("the disk is full")), first_line(KeyError())
    ('the disk is full', 'KeyError()')
    """
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (said or [repr(error)])[0][:500]


def innermost(error: BaseException | str) -> str:
    r"""Return in one line the innermost cause that a trace of Java or Python names, which stands last.

    Examples
    --------
    >>> innermost("An error\n: java.io.IOException: no\n\tat a.B\nCaused by: java.lang.Error: full\n\tat c.D")
    'java.lang.Error: full'
    """
    causes = re.findall(r"^\s*(?:Caused by: |: )?([\w.$]+(?:Error|Exception)\b.*)$", str(error), re.MULTILINE)
    return first_line(causes[-1] if causes else error)


#: Every code that ``quarantine.code`` can hold, with what it means. Codes are a contract: never renamed.
TRACK_ERROR_CODES: dict[str, str] = {
    "missing_track_id": "the catalogue's row has no track_id",
    "forbidden_path": "the catalogue, or a link, points outside the configured audio root or schemes",
    "unreadable_name": "the file's or folder's name is no text (UTF-8), and so cannot be written down",
    "unreadable_folder": "the store does not list the folder; what was known of the files in it is kept",
    "not_found": "the catalogue names a file that the store does not have",
    "too_large": "the file is larger than extract.max_file_mb",
    "storage_error": "the store failed while the file was read; tried again at the next run",
    "empty": "the file holds no bytes",
    "undecodable": "no decoder can read the file",
    "no_audio_stream": "the container holds no audio",
    "too_short": "less audio than audio.min_seconds",
    "low_sample_rate": "the file's own sample rate is too low for audio.fmin",
    "silent": "no sound above audio.silence_db",
    "not_finite": "the samples hold NaN or infinity",
    "timed_out": "the decoder took longer than extract.time_limit_seconds",
    "out_of_memory": "the file needs more memory than extract.memory_limit_mb",
    "crashed_decoder": "the decoder's process died of the file",
    "no_direction": "the track's vector is zero or not finite, and so like no other",
    "failed": "an unexpected error while the track was analysed",
}

#: The next run tries these again: faults of the storage.
RETRYABLE_CODES = frozenset({"storage_error", "not_found"})

#: Unexpected errors may be the machine's fault and not the file's: tried again until they failed this often.
MOST_ATTEMPTS = {"failed": 3}
