"""Everything that is measured of one file."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np

from specrec.arrays import Float32Array
from specrec.audio.config import AudioConfig
from specrec.errors import TrackError


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was measured of one file.

    Attributes
    ----------
    content_hash : str
        SHA-256 of the file's bytes, in hexadecimal.
    seconds, sample_rate, decoder
        Of the analysed clip; see :class:`~specrec.audio.decode.Clip`.
    values : dict
        By column; see :class:`~specrec.audio.features.Features`. All are finite.
    mel : bytes
        Mel spectrogram, to be read by :func:`~specrec.audio.mel.decode_mel`.
    n_mels, n_frames : int
        Its shape.
    """

    content_hash: str
    seconds: float
    sample_rate: int
    decoder: str
    values: dict[str, Float32Array | float]
    mel: bytes
    n_mels: int
    n_frames: int


def analyse(source: bytes | BinaryIO, config: AudioConfig, name: str = "") -> Analysis:
    """Decode a file, measure its features and encode its mel spectrogram.

    Parameters
    ----------
    source : bytes or binary file
        Bytes of the whole file, or the file itself, open for reading.
    config : AudioConfig
        What is analysed, and how.
    name : str
        Shown in messages, usually the file's name.

    Raises
    ------
    TrackError
        What :func:`~specrec.audio.decode.decode` and :func:`~specrec.audio.features.extract` raise; and
        ``not_finite`` rather than return a value that is NaN or infinite.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from specrec.demo.clips import render_clip
    >>> from specrec.demo.files import write_audio
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "clip.flac")
    ...     write_audio(path, render_clip(0, seconds=3.0))
    ...     analysis = analyse(path.read_bytes(), AudioConfig())
    >>> analysis.n_mels, analysis.n_frames, len(analysis.mel) == analysis.n_mels * analysis.n_frames
    (128, 130, True)
    """
    # the process that hands files to specrec.audio.isolated needs none of librosa
    from specrec.audio.decode import decode, opened  # noqa: PLC0415
    from specrec.audio.features import extract  # noqa: PLC0415
    from specrec.audio.mel import encode_mel  # noqa: PLC0415

    label = name or "the file"
    file = opened(source)
    clip = decode(file, config, name)
    try:
        features = extract(clip, config)
    except TrackError as error:
        raise TrackError(error.code, f"{label}: {error.message}") from None
    for column, value in (*features.values.items(), ("mel spectrogram", features.mel_db)):
        if not np.all(np.isfinite(value)):
            raise TrackError(
                "not_finite",
                f"{label} gives no finite {column}: listen to it, and export it again",
            )
    n_mels, n_frames = features.mel_db.shape
    return Analysis(
        content_hash=sha256_of(file),
        seconds=clip.seconds,
        sample_rate=clip.sample_rate,
        decoder=clip.decoder,
        values=features.values,
        mel=encode_mel(features.mel_db),
        n_mels=n_mels,
        n_frames=n_frames,
    )


def sha256_of(file: BinaryIO) -> str:
    """Return the SHA-256 of all bytes of a file, in hexadecimal."""
    file.seek(0)
    return hashlib.file_digest(cast(io.BufferedIOBase, file), "sha256").hexdigest()
