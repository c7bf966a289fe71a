"""Decode the analysed excerpt of an audio file to mono samples."""

from __future__ import annotations

import functools
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from specrec.arrays import Float32Array
from specrec.audio.config import AudioConfig
from specrec.errors import TrackError

_BLOCK_FRAMES = 1 << 18  # bounds the memory that a clip of many channels takes


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
    of ``librosa.load(file, sr=…, mono=True, offset=…, duration=…)``: channels averaged, then resampled by
    soxr in high quality.

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
    try:
        samples, native_rate = _read_soundfile(file, config)
        decoder = _libsndfile_version()
    except _Unreadable as first:
        samples, native_rate = _read_ffmpeg(file, config, label, str(first))
        decoder = _ffmpeg_version()

    seconds = samples.size / native_rate
    if seconds < config.min_seconds:
        place = f" after {config.offset_seconds:g} s" if config.offset_seconds else ""
        raise TrackError(
            "too_short",
            f"{label} holds {seconds:.2f} s of audio{place}, less than "
            f"audio.min_seconds={config.min_seconds:g}: upload the whole recording",
        )
    _require_sound(samples, config, label)
    sample_rate = config.sample_rate or native_rate
    if sample_rate != native_rate:
        samples = resample(samples, native_rate, sample_rate)
        _require_sound(samples, config, label)  # nothing may be left below half the new rate
    return Clip(samples, sample_rate, seconds, native_rate, decoder)


def opened(source: bytes | BinaryIO) -> BinaryIO:
    """Return a file of the bytes of one, or the file itself."""
    return io.BytesIO(source) if isinstance(source, bytes) else source


@functools.lru_cache(maxsize=1)
def decoder_versions() -> str:
    """Name the decoders and their versions, for ``quarantine``: a newer one may read what this one cannot."""
    return f"{_libsndfile_version()}, {_ffmpeg_version()}"


class _Unreadable(Exception):
    """libsndfile cannot read the file."""


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


def _read_soundfile(file: BinaryIO, config: AudioConfig) -> tuple[Float32Array, int]:
    import soundfile  # noqa: PLC0415

    file.seek(0)
    try:
        descriptor = file.fileno()  # libsndfile then reads by itself, and does not call Python for each block
    except OSError:
        descriptor = None
    try:
        with soundfile.SoundFile(file if descriptor is None else descriptor, closefd=False) as sound:
            rate = int(sound.samplerate)
            # int() truncates as librosa.load does, so that both cut at the same sample
            start = min(int(config.offset_seconds * rate), sound.frames)
            sound.seek(start)
            left = min(int(config.clip_seconds * rate), sound.frames - start)
            # soundfile seeks after every read, which changes the last bit of an MP3: read those at once
            step = left if sound.channels <= 2 else _BLOCK_FRAMES
            blocks = []
            while left > 0:
                block = sound.read(min(left, step), dtype="float32")
                if not len(block):
                    break  # the header promised more
                blocks.append(_mono(block.T))
                left -= len(block)
    except soundfile.SoundFileError as error:
        raise _Unreadable(_one_line(getattr(error, "error_string", error))) from None
    return _concatenate(blocks), rate


def _read_ffmpeg(file: BinaryIO, config: AudioConfig, label: str, first: str) -> tuple[Float32Array, int]:
    av = _av()
    file.seek(0)
    try:
        # Some formats are but lists of addresses to read from; a catalogue's file must not open any.
        closed = {"protocol_whitelist": "none"}
        with av.open(file, metadata_errors="ignore", options=closed) as container:
            if not container.streams.audio:
                raise TrackError(
                    "no_audio_stream",
                    f"{label} is {container.format.long_name} without sound: upload the audio",
                )
            stream = container.streams.audio[0]
            stream.thread_type = "NONE"  # Spark already runs one task a core
            rate = int(getattr(stream, "rate", 0) or 0)  # a stream of an unknown codec has no such attribute
            if not rate:
                raise ValueError("its codec or its sample rate is unknown")
            blocks = []
            left = int(config.clip_seconds * rate)
            for block in _ffmpeg_blocks(av, container, stream, int(config.offset_seconds * rate), rate):
                blocks.append(block[:left])
                left -= block.size
                if left <= 0:
                    break
    except (av.error.FFmpegError, ValueError) as error:
        raise _undecodable(label, first, _one_line(getattr(error, "strerror", error))) from None
    if not blocks:
        raise _undecodable(label, first, "no frame could be decoded")
    return _concatenate(blocks), rate


def _ffmpeg_blocks(av: Any, container: Any, stream: Any, skip: int, rate: int) -> Iterator[Float32Array]:
    """Yield mono blocks after the first ``skip`` samples, leaving out packets that cannot be decoded.

    What comes before is decoded and dropped: in these containers a seek lands only near the wanted sample.
    """
    resampler = av.AudioResampler(format="fltp")  # of the sample format only: neither rate nor channels
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            if frame.sample_rate != rate:
                raise ValueError("its sample rate changes midway")
            if skip >= frame.samples:
                skip -= frame.samples
                continue
            for part in resampler.resample(frame):
                yield _mono(part.to_ndarray()[:, skip:])
                skip = 0


def _mono(channels: Float32Array) -> Float32Array:
    """Mean over the channels of an array of shape (n,) or (channels, n)."""
    if channels.ndim == 1:
        return channels
    mono: Float32Array
    if len(channels) == 2:  # the same numbers as np.mean, many times faster
        mono = (channels[0] + channels[1]) * np.float32(0.5)
    else:
        mono = np.mean(channels, axis=0, dtype=np.float32)
    return mono


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
