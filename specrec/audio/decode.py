"""Decode the analysed excerpt of an audio file to mono samples."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, BinaryIO, Self

import numpy as np

from specrec.arrays import Float32Array, Float64Array
from specrec.audio.config import AudioConfig
from specrec.audio.mono import Signs, mixed, opposed, products, without_offset
from specrec.errors import TrackError
from specrec.ogg import Link, links, part_of

_BLOCK_FRAMES = 1 << 18  # bounds the memory that a clip of many channels takes
_FFMPEG_FRAMES = 1 << 16  # FFmpeg's own blocks are of a thousand
_UNKNOWN_FRAMES = 1 << 60  # as many, libsndfile says of a stream that does not tell its length
#: FFmpeg may count so many samples more of a file than libsndfile: what an encoder puts before and after the sound.
_CODEC_FRAMES = 4_096


@dataclass(frozen=True, slots=True)
class Clip:
    """The analysed excerpt of a file.

    Attributes
    ----------
    samples : float32 array, shape (n,)
        Mono, full scale is 1.
    sample_rate : int
        Hz, after resampling.
    seconds : float
        Length of the excerpt.
    native_rate : int
        Hz, as the file has it.
    decoder : str
        Name and version of what decoded it.
    """

    samples: Float32Array
    sample_rate: int
    seconds: float
    native_rate: int
    decoder: str


def decode(source: bytes | BinaryIO, config: AudioConfig, name: str = "") -> Clip:
    """Decode ``[offset_seconds, offset_seconds + clip_seconds]`` of a file, and nothing else of it.

    libsndfile decodes what it can (WAV, FLAC, Ogg, Opus, MP3, AIFF), FFmpeg the rest. The samples are those
    of ``librosa.load(file, sr=None, mono=True, offset=…, duration=…)``, the mean of the channels, less their own
    mean, then resampled by soxr in high quality. Channels that cancel one another are turned over before:
    :func:`~specrec.audio.mono.opposed`.

    A header's length is not trusted where it ends before the clip does. What players play is decoded: all parts
    of chained Ogg and of joined MP3 files, and what lies beyond a length that was never written or is too small.
    Parts of another sample rate than the first are resampled to that.

    Parameters
    ----------
    source : bytes or binary file
        Bytes of the whole file, or the file itself, open for reading; more of a file than the excerpt is read only
        where its format demands it.
    config : AudioConfig
        What is analysed.
    name : str
        Shown in messages, usually the file's name.

    Raises
    ------
    TrackError
        ``empty``, ``undecodable``, ``no_audio_stream``, ``too_short``, ``not_finite`` or ``silent``.
    """
    label = name or "the file"
    file = opened(source)
    if not file.seek(0, os.SEEK_END):
        raise TrackError("empty", f"{label} holds no bytes: upload it again")
    whole = _Excerpt(config.offset_seconds, config.clip_seconds)
    excerpt, decoders = _read(file, whole, label)
    if signs := opposed(excerpt.products):
        excerpt, decoders = _read(file, replace(whole, signs=signs), label)
    samples, native_rate = excerpt.samples(), excerpt.rate
    seconds = samples.size / native_rate
    if seconds < config.min_seconds:
        place = f" after {config.offset_seconds:g} s" if config.offset_seconds else ""
        raise TrackError(
            "too_short",
            f"{label} holds {seconds:.2f} s of audio{place}, less than "
            f"audio.min_seconds={config.min_seconds:g}: upload the whole recording",
        )
    _require_sound(samples, config, label)
    samples = without_offset(samples, native_rate)
    sample_rate = config.sample_rate or native_rate
    if sample_rate != native_rate:
        samples = resample(samples, native_rate, sample_rate)
        _require_sound(samples, config, label)  # nothing may be left below half the new rate
    return Clip(samples, sample_rate, seconds, native_rate, ", ".join(decoders))


def opened(source: bytes | BinaryIO) -> BinaryIO:
    """Return a file of the bytes of one, or the file itself."""
    return io.BytesIO(source) if isinstance(source, bytes) else source


@functools.lru_cache(maxsize=1)
def decoder_versions() -> str:
    """Name the decoders and their versions, for ``quarantine``: a newer one may read what this one cannot."""
    return f"{_libsndfile_version()}, {_ffmpeg_version()}"


class _Unreadable(Exception):
    """libsndfile cannot read the file."""


@dataclass(slots=True)
class _Excerpt:
    """The excerpt of what a file plays, as far as it was read: mono, at the file's first sample rate."""

    offset_seconds: float
    clip_seconds: float
    signs: Signs = field(default_factory=dict)
    rate: int = 0  # Hz; 0 while nothing was read
    skip: int = 0  # samples yet to be left out
    left: int = 0  # samples yet to be taken
    pieces: list[tuple[int, Float32Array]] = field(default_factory=list)  # with their own sample rates
    products: dict[int, Float64Array] = field(default_factory=dict)

    def fork(self) -> Self:
        """Return a copy, for what may fail."""
        return replace(self, pieces=[*self.pieces], products={**self.products})

    @property
    def is_full(self) -> bool:
        """Whether the clip has its length."""
        return self.rate > 0 and self.left <= 0

    @property
    def reached(self) -> float:
        """Seconds of the file that were read or left out."""
        whole = int(self.offset_seconds * self.rate) + int(self.clip_seconds * self.rate)
        return (whole - self.skip - self.left) / self.rate if self.rate else 0.0

    def wanted(self, rate: int, size: int) -> tuple[int, int]:
        """Return which of the next samples are wanted, from the first to before the last, and count on that."""
        if not self.rate:
            # int() truncates as librosa.load does, so that both cut at the same sample
            self.rate = rate
            self.skip, self.left = int(self.offset_seconds * rate), int(self.clip_seconds * rate)
        start = min(self.skip * rate // self.rate, size)
        self.skip = (
            self.skip - start * self.rate // rate if start < size else max(self.skip - size * self.rate // rate, 0)
        )
        return start, min(start + -(-self.left * rate // self.rate), size)

    def add(self, rate: int, channels: Float32Array) -> None:
        """Take samples of shape (n,) or (channels, n)."""
        if channels.ndim > 1:
            of = products(channels)
            self.products[len(of)] = self.products.get(len(of), 0) + of
        mono = mixed(channels, self.signs)
        self.pieces.append((rate, mono))
        self.left -= mono.size * self.rate // rate

    def samples(self) -> Float32Array:
        """Return all of it, at its sample rate."""
        runs = []
        for rate, pieces in itertools.groupby(self.pieces, itemgetter(0)):
            run = _concatenate([piece for _, piece in pieces])
            runs.append(run if rate == self.rate else resample(run, rate, self.rate))
        return _concatenate(runs)[: int(self.clip_seconds * self.rate)]


def _libsndfile_version() -> str:
    import soundfile  # noqa: PLC0415 - importing specrec.audio stays cheap

    return f"libsndfile {soundfile.__libsndfile_version__}"


def _ffmpeg_version() -> str:
    return f"ffmpeg {_av().ffmpeg_version_info}"


@functools.lru_cache(maxsize=1)
def _av() -> Any:
    import av  # noqa: PLC0415 - half a second that most files never need
    import av.logging  # noqa: PLC0415

    av.logging.set_level(None)  # what matters of FFmpeg's messages is in the exceptions
    return av


def _read(file: BinaryIO, begun: _Excerpt, label: str) -> tuple[_Excerpt, list[str]]:
    """Read an excerpt of a file; return it with the names of the decoders.

    An Ogg file may be a chain, of which libsndfile reads the first part. Where any other file ends before the clip
    does, FFmpeg is asked whether more of it can be played: it reads on where libsndfile believes a header.
    """
    try:
        excerpt, is_sure = _read_soundfile(file, begun)
    except _Unreadable as error:
        chain = links(file)
        return (
            _read_chain(file, chain, begun, label)
            if len(chain) > 1
            else _read_ffmpeg(file, begun, label, str(error))
        )
    if is_sure and excerpt.is_full:
        return excerpt, [_libsndfile_version()]
    chain = links(file)
    if len(chain) > 1:
        return _read_chain(file, chain, begun, label)
    if not chain and not excerpt.is_full and _ffmpeg_plays(file, excerpt.reached):
        with contextlib.suppress(TrackError):
            longer, decoders = _read_ffmpeg(file, begun, label, "")
            if longer.reached > excerpt.reached + _CODEC_FRAMES / excerpt.rate:
                return longer, decoders
    return excerpt, [_libsndfile_version()]


def _read_chain(file: BinaryIO, chain: list[Link], excerpt: _Excerpt, label: str) -> tuple[_Excerpt, list[str]]:
    """Read the parts of a chained file in turn, without those that no decoder can read, as players do."""
    decoders: dict[str, None] = {}
    first: TrackError | None = None
    for link in chain:
        if excerpt.is_full:
            break
        part = part_of(file, link)
        try:
            try:
                excerpt, names = _read_soundfile(part, excerpt)[0], [_libsndfile_version()]
            except _Unreadable as error:
                excerpt, names = _read_ffmpeg(part, excerpt, label, str(error))
        except TrackError as error:
            first = first or error
        else:
            decoders |= dict.fromkeys(names)
    if not decoders and first:
        raise first
    return excerpt, list(decoders)


def _read_soundfile(file: BinaryIO, begun: _Excerpt) -> tuple[_Excerpt, bool]:
    """Read on by libsndfile; return the excerpt, and whether the file tells its length."""
    import soundfile  # noqa: PLC0415

    excerpt = begun.fork()
    file.seek(0)
    try:
        descriptor = file.fileno()  # libsndfile then reads by itself, and does not call Python for each block
    except OSError:
        descriptor = None
    try:
        with soundfile.SoundFile(file if descriptor is None else descriptor, closefd=False) as sound:
            rate, frames = int(sound.samplerate), sound.frames
            start, stop = excerpt.wanted(rate, frames)
            sound.seek(start)
            left = stop - start
            # soundfile seeks after every read, which changes the last bit of an MP3: read those at once
            step = left if sound.channels <= 2 else _BLOCK_FRAMES
            while left > 0:
                block = sound.read(min(left, step), dtype="float32")
                if not len(block):
                    break  # the header promised more
                excerpt.add(rate, block.T)
                left -= len(block)
    except soundfile.SoundFileError as error:
        raise _Unreadable(_one_line(getattr(error, "error_string", error))) from None
    return excerpt, frames < _UNKNOWN_FRAMES


def _read_ffmpeg(file: BinaryIO, begun: _Excerpt, label: str, first: str) -> tuple[_Excerpt, list[str]]:
    av, excerpt, found = _av(), begun.fork(), False
    try:
        with _ffmpeg_container(file, label) as container:
            stream = container.streams.audio[0]
            stream.thread_type = "NONE"  # Spark already runs one task a core
            if not getattr(stream, "rate", 0):  # a stream of an unknown codec has no such attribute
                raise ValueError("its codec or its sample rate is unknown")
            for rate, block in _ffmpeg_blocks(av, container, stream):
                found = True
                start, stop = excerpt.wanted(rate, block.shape[1])
                if stop > start:
                    excerpt.add(rate, block[:, start:stop])
                if excerpt.is_full:
                    break
    except (av.error.FFmpegError, ValueError) as error:
        raise _undecodable(label, first, _one_line(getattr(error, "strerror", error))) from None
    if not found:
        raise _undecodable(label, first, "no frame could be decoded")
    return excerpt, [_ffmpeg_version()]


@contextlib.contextmanager
def _ffmpeg_container(file: BinaryIO, label: str) -> Iterator[Any]:
    file.seek(0)
    # Some formats are but lists of addresses to read from; a catalogue's file must not open any.
    closed = {"protocol_whitelist": "none"}
    with _av().open(file, metadata_errors="ignore", options=closed) as container:
        if not container.streams.audio:
            raise TrackError(
                "no_audio_stream",
                f"{label} is {container.format.long_name} without sound: upload the audio",
            )
        yield container


def _ffmpeg_blocks(av: Any, container: Any, stream: Any) -> Iterator[tuple[int, Float32Array]]:
    """Yield sample rates and blocks of shape (channels, n), leaving out packets that cannot be decoded.

    In these containers a seek lands only near the wanted sample: all that comes before it is decoded, too.
    """
    layout: tuple[Any, ...]
    layout, resampler, waiting = (), av.AudioResampler(format="fltp"), _Waiting()
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            if not frame.sample_rate:
                continue
            if layout != (layout := (frame.sample_rate, frame.layout.name, frame.format.name)):
                yield from waiting.pop()
                resampler = av.AudioResampler(format="fltp")  # of the sample format only: neither rate nor channels
            for part in resampler.resample(frame):
                waiting.rate = frame.sample_rate
                waiting.blocks.append(part.to_ndarray())
                waiting.size += part.samples
            if waiting.size >= _FFMPEG_FRAMES:
                yield from waiting.pop()
    yield from waiting.pop()


class _Waiting:
    """Short blocks of one sample rate and one number of channels, until they are worth the work of a long one."""

    def __init__(self) -> None:
        self.rate, self.size = 0, 0
        self.blocks: list[Float32Array] = []

    def pop(self) -> Iterator[tuple[int, Float32Array]]:
        if self.blocks:
            yield self.rate, np.concatenate(self.blocks, axis=1)
        self.blocks, self.size = [], 0


def _ffmpeg_plays(file: BinaryIO, seconds: float) -> bool:
    """Tell whether FFmpeg finds packets for longer than this, which is sooner done than to decode them."""
    av, found = _av(), 0.0
    try:
        with _ffmpeg_container(file, "") as container:
            stream = container.streams.audio[0]
            rate = getattr(stream, "rate", 0) or 1
            for packet in container.demux(stream):
                found += float((packet.duration or 0) * (packet.time_base or 0))
                if found > seconds + _CODEC_FRAMES / rate:
                    return True
    except (av.error.FFmpegError, ValueError, TrackError):
        return False
    return False


def _concatenate(blocks: list[Float32Array]) -> Float32Array:
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def resample(samples: Float32Array, native_rate: int, sample_rate: int) -> Float32Array:
    """Do what ``librosa.resample(res_type="soxr_hq")`` does, its length included.

    Examples
    --------
    >>> resample(np.zeros(44_100, np.float32), 44_100, 22_050).shape
    (22050,)
    """
    import soxr  # noqa: PLC0415

    size = math.ceil(samples.size * (float(sample_rate) / native_rate))
    resampled: Float32Array = soxr.resample(samples, native_rate, sample_rate, quality="soxr_hq")
    return np.pad(resampled[:size], (0, max(0, size - resampled.size)))


def _require_sound(samples: Float32Array, config: AudioConfig, label: str) -> None:
    low, high = float(samples.min()), float(samples.max())
    if not math.isfinite(high - low):
        raise TrackError("not_finite", f"{label} holds NaN or infinity among its samples: export it again")
    peak = (high - low) / 2  # of what is left without a constant offset
    if peak < 10 ** (config.silence_db / 20):
        raise TrackError(
            "silent",
            f"{label} has no sound above audio.silence_db={config.silence_db:g} dB in the analysed excerpt: "
            "listen to it, and export it again",
        )


def _undecodable(label: str, first: str, second: str) -> TrackError:
    return TrackError(
        "undecodable", f"no decoder can read {label}: replace it (libsndfile: {first}; FFmpeg: {second})"
    )


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split()).rstrip(".")
