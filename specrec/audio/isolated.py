"""Analysis in a process of its own, which a file may crash, stall or fill without harm to the task.

Decoders are large C libraries that read what strangers wrote. The child process answers one file at a time over
a socket; it is killed when it takes too long, limited in memory, and replaced when it died. What comes back is
JSON and plain bytes, never a pickle.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import Pipe, reduction
from multiprocessing.connection import Connection
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from specrec.audio.compiled import filling_cache
from specrec.audio.config import AudioConfig, ExtractConfig, ModelMelConfig
from specrec.errors import SpecrecError, TrackError
from specrec.starting import importing

if TYPE_CHECKING:
    from specrec.audio.analyse import Analysis
    from specrec.audio.model_mel import ModelMel

_START_SECONDS = 300.0  # importing and compiling librosa on a busy machine, with nothing in the disk's cache
_GRACE_SECONDS = 5.0
_MOST_WORDS = 16 << 20  # bytes that a decoder may print before writing fails
_READY = b"ready"
_Result = TypeVar("_Result")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
#: BLAS, OpenMP and numba: Spark already runs one task a core.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

_KEEP_BYTES, _MAP_BYTES = 256 << 20, 32 << 20
#: glibc's settings, from a process's start: to map the same pages again and again takes a tenth of the time.
KEEP_FREED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(_KEEP_BYTES), "MALLOC_MMAP_THRESHOLD_": str(_MAP_BYTES)}


class Analyst:
    """Analyses files in a child process, to be used by one thread at a time.

    Parameters
    ----------
    audio : AudioConfig
        What is analysed, and how.
    limits : ExtractConfig
        ``time_limit_seconds`` and ``memory_limit_mb`` are used.

    Examples
    --------
    >>> with Analyst(AudioConfig(), ExtractConfig()) as analyst, open("song.mp3", "rb") as file:
    ...     analyst.analyse(file, "song.mp3")  # doctest: +SKIP
    """

    def __init__(self, audio: AudioConfig, limits: ExtractConfig) -> None:
        self._audio, self._limits = audio, limits
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the child, if there is none, without waiting for it."""
        if self._child is None:
            try:
                self._child = _Child(self._audio, self._limits)
            except OSError as error:
                raise SpecrecError(f"the process that decodes audio did not start: {error.strerror}") from None

    def close(self) -> None:
        """End the child. It would also end by itself with this process."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def analyse(self, file: BinaryIO, name: str = "") -> Analysis:
        """Do what :func:`specrec.audio.analyse.analyse` does, in the child.

        A child that dies of a file is replaced. If it had worked on other files before, which may have left it
        unsound, the file gets a second chance in a new one.

        Parameters
        ----------
        file : binary file
            A real file, open for reading; read from its beginning.
        name : str
            Shown in messages.

        Raises
        ------
        TrackError
            What :func:`specrec.audio.analyse.analyse` raises; ``timed_out``, ``out_of_memory`` or
            ``crashed_decoder``; ``failed`` for an unexpected error.
        SpecrecError
            If no child can be started: a fault of the machine, not of the file.
        """
        return self._ask(file, name, None, _analysis)

    def model_mel(self, file: BinaryIO, settings: ModelMelConfig, name: str = "") -> ModelMel:
        """Do what :func:`specrec.audio.model_mel.measure` does, in the child; it fails as :meth:`analyse` does."""
        return self._ask(file, name, settings, _model_mel)

    def _ask(
        self,
        file: BinaryIO,
        name: str,
        mel: ModelMelConfig | None,
        read: Callable[[dict[str, Any], bytes], _Result],
    ) -> _Result:
        self.start()
        assert self._child is not None
        was_fresh = self._child.files == 0
        try:
            return self._child.ask(file, name or "the file", mel, read)
        except TrackError as error:
            if self._child.usable or was_fresh or error.code == "timed_out":
                raise
        finally:
            if not self._child.usable:
                self.close()
        return self._ask(file, name, mel, read)


class _Child:
    """The child process and the socket to it."""

    def __init__(self, audio: AudioConfig, limits: ExtractConfig) -> None:
        self.files, self.usable = 0, True
        self._limits, self._ready = limits, False
        self._channel, theirs = Pipe()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        arguments = [str(theirs.fileno()), str(limits.time_limit_seconds), str(limits.memory_limit_mb)]
        # what reads hostile bytes has no use for credentials
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this very interpreter and module
                [sys.executable, "-m", __name__, *arguments, audio.model_dump_json()],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=[theirs.fileno()],
                env=ONE_THREAD | environment,
            )

    def ask(
        self,
        file: BinaryIO,
        label: str,
        mel: ModelMelConfig | None,
        read: Callable[[dict[str, Any], bytes], _Result],
    ) -> _Result:
        self._wait_until_ready()
        self.files += 1
        self._stderr.seek(0)  # the child writes where this handle stands: they share it
        self._stderr.truncate()
        descriptor, limit = file.fileno(), self._limits.time_limit_seconds
        self.usable = False  # unless it answers as it should
        try:
            wanted = {"label": label.encode(errors="replace").decode(), "mel": mel and mel.model_dump()}
            self._channel.send_bytes(json.dumps(wanted).encode())
            reduction.send_handle(self._channel, descriptor, self._process.pid)
            if not self._channel.poll(limit):
                raise _timed_out(label, limit)
            answer = json.loads(self._channel.recv_bytes())
            error = TrackError(**answer["error"]) if "error" in answer else None
            done = None if error else read(answer, self._channel.recv_bytes())
        except (EOFError, OSError, ValueError, KeyError, TypeError):  # no answer, or none that makes sense
            raise self._post_mortem(label) from None
        self.usable = error is None or error.code != "out_of_memory"
        if error:
            raise error
        assert done is not None
        return done

    def close(self) -> None:
        self._channel.close()
        self._process.kill()
        self._process.wait()
        self._stderr.close()

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        self.usable = False
        problem = f"not within {_START_SECONDS:g} s"
        with contextlib.suppress(EOFError, OSError):
            if self._channel.poll(_START_SECONDS):
                problem = "no reason given"
                self._ready = self.usable = self._channel.recv_bytes() == _READY
        if not self._ready:
            # what was compiled for another processor crashes on this one
            advice = f"if it worked before, empty {os.environ.get('NUMBA_CACHE_DIR')}"
            raise SpecrecError(
                f"the process that decodes audio did not start ({self._last_words() or problem}): {advice}"
            )

    def _post_mortem(self, label: str) -> TrackError:
        try:
            status = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:  # it lives, but speaks no sense
            self._process.kill()
            self._process.wait()
            status = 0
        if status == -signal.SIGALRM:  # its own clock
            return _timed_out(label, self._limits.time_limit_seconds)
        if status in (-signal.SIGKILL, -signal.SIGTERM):
            return TrackError(
                "failed",
                f"{label}: the process that decodes it was killed, perhaps for want of memory on the machine",
            )
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        last_words = self._last_words()
        return TrackError(
            "crashed_decoder",
            f"{label} crashed the decoder ({how}{': ' + last_words if last_words else ''}): convert it to another "
            "format and upload it again",
        )

    def _last_words(self) -> str:
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 500))
        lines = self._stderr.read().decode(errors="replace").split("\n")
        return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")[:200]


def _timed_out(label: str, seconds: float) -> TrackError:
    return TrackError(
        "timed_out",
        f"{label} was not analysed within extract.time_limit_seconds={seconds:g}: allow more, or convert it to "
        "another format and upload it again",
    )


def _analysis(fields: dict[str, Any], mel: bytes) -> Analysis:
    import numpy as np  # noqa: PLC0415

    from specrec.audio.analyse import Analysis  # noqa: PLC0415

    values = fields.pop("values")
    arrays = {name: np.asarray(v, np.float32) if isinstance(v, list) else v for name, v in values.items()}
    return Analysis(**fields, values=arrays, mel=mel)


def _model_mel(fields: dict[str, Any], mel: bytes) -> ModelMel:
    import numpy as np  # noqa: PLC0415

    from specrec.audio.model_mel import ModelMel  # noqa: PLC0415

    return ModelMel(fields["content_hash"], np.frombuffer(mel, np.float32).reshape(fields["shape"]))


def _serve(channel: Connection, audio: AudioConfig, seconds: float) -> None:
    """Answer one file after the other until the parent closes its end."""
    with importing():
        _warm_up(audio)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_WORDS, _MOST_WORDS))
    channel.send_bytes(_READY)
    while True:
        try:
            wanted = json.loads(channel.recv_bytes())
            handle = reduction.recv_handle(channel)
        except EOFError:
            return
        # should the parent be gone by then, nobody else would end a decoder that does not return
        signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE_SECONDS)
        with open(handle, "rb", buffering=0) as file:
            answer, mel = _answer(file, audio, **wanted)
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.send_bytes(json.dumps(answer).encode())
        if mel is not None:
            channel.send_bytes(mel)


def _warm_up(audio: AudioConfig) -> None:
    """Analyse some noise: what is imported or compiled at first use is not the first file's time."""
    import numpy as np  # noqa: PLC0415
    import soundfile  # noqa: PLC0415

    from specrec.audio.analyse import analyse  # noqa: PLC0415

    rate = 44_100
    seconds = max(2.0, 16 * audio.hop_length / min(audio.sample_rate or rate, rate))
    noise = io.BytesIO()
    soundfile.write(noise, np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * rate)), rate, format="WAV")
    whole = {"offset_seconds": 0.0, "min_seconds": 1.0, "clip_seconds": seconds}
    analyse(noise.getvalue(), audio.model_copy(update=whole))


def _answer(
    file: Any, audio: AudioConfig, label: str, mel: dict[str, Any] | None
) -> tuple[dict[str, Any], bytes | None]:
    try:
        return _model_mel_answer(file, audio, label, mel) if mel else _analysis_answer(file, audio, label)
    except TrackError as error:
        return _error(error.code, error.message), None
    except MemoryError:
        return _error("out_of_memory", f"{label} needs more memory than extract.memory_limit_mb allows"), None
    except Exception as error:
        return _error("failed", f"{label}: {type(error).__name__}: {' '.join(str(error).split())}"), None


def _analysis_answer(file: Any, audio: AudioConfig, label: str) -> tuple[dict[str, Any], bytes]:
    from specrec.audio.analyse import analyse  # noqa: PLC0415

    done = analyse(file, audio, label)
    fields = {field: getattr(done, field) for field in done.__slots__ if field != "mel"}
    fields["values"] = {n: v if isinstance(v, float) else v.tolist() for n, v in done.values.items()}
    return fields, done.mel


def _model_mel_answer(
    file: Any, audio: AudioConfig, label: str, mel: dict[str, Any]
) -> tuple[dict[str, Any], bytes]:
    from specrec.audio.model_mel import measure  # noqa: PLC0415

    done = measure(file, audio, ModelMelConfig.model_validate(mel), label)
    return {"content_hash": done.content_hash, "shape": done.mel.shape}, done.mel.tobytes()


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def keep_freed_memory() -> None:
    """Do in this process what :data:`KEEP_FREED_MEMORY` does from the start of another."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def main() -> None:
    """Run as the child: ``python -m specrec.audio.isolated HANDLE SECONDS MEGABYTES CONFIG``."""
    handle, seconds, megabytes, config = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, whose end is this one's
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    keep_freed_memory()
    settings = AudioConfig.model_validate_json(config)
    with filling_cache() as fills:
        if fills:
            with importing():
                _warm_up(settings)
    if fills:  # compiling took memory, which is not to count against the limit: begin again
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - what this process is
    limit = int(megabytes) << 20
    with contextlib.suppress(ValueError, OSError):  # a container may have set a lower one
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    _serve(Connection(int(handle)), settings, float(seconds))


if __name__ == "__main__":
    main()
