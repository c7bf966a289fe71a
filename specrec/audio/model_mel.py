"""The mel spectrogram that a model was trained on, where it is another than the stored one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from specrec.arrays import Float32Array

if TYPE_CHECKING:
    from specrec.audio.config import AudioConfig, ModelMelConfig


_AMIN = 1e-10  # that librosa's power_to_db takes for silence
_TOP_DB = 80.0


def _db(mel: Float32Array) -> Float32Array:
    db: Float32Array = np.float32(10) * np.log10(np.maximum(mel, np.float32(_AMIN)))
    return db


def _unit_db(mel: Float32Array) -> Float32Array:
    db = _db(mel)
    unit: Float32Array = np.maximum(1 + (db - db.max()) / np.float32(_TOP_DB), np.float32(0))
    return unit


#: What `scaling` names: functions of a mel spectrogram, and who uses them.
SCALINGS: dict[str, Callable[[Float32Array], Float32Array]] = {
    # 80 dB below the maximum … the maximum is 0 … 1: the stored mel spectrograms as models get them
    "unit_db": _unit_db,
    # dB of unit power: PANNs (Kong et al. 2020); short-chunk CNN and others of Won et al. 2020 (htk, no norm)
    "db": _db,
    # musicnn (Pons and Serra 2019), and Essentia's models that take TensorflowInputMusiCNN
    "log_10000": lambda mel: np.log10(1 + np.float32(10_000) * mel),
    # what models of one's own often use
    "log": lambda mel: np.log(mel + np.float32(1e-6)),
}


@dataclass(frozen=True, slots=True)
class ModelMel:
    """A file's mel spectrogram, as a model wants it.

    Attributes
    ----------
    content_hash : str
        SHA-256 of the file's bytes, in hexadecimal.
    mel : float32 array, shape (n_mels, frames)
    """

    content_hash: str
    mel: Float32Array


def measure(source: bytes | BinaryIO, audio: AudioConfig, settings: ModelMelConfig, name: str = "") -> ModelMel:
    """Decode a file at a model's own rate and compute its mel spectrogram.

    Parameters
    ----------
    source : bytes or binary file
        Bytes of the whole file, or the file itself, open for reading.
    audio : AudioConfig
        Which part of the file is decoded, and what is too short or silent; its rate and frames are not used.
    settings : ModelMelConfig
        How the mel spectrogram is computed.
    name : str
        Shown in messages, usually the file's name.

    Raises
    ------
    TrackError
        What :func:`~specrec.audio.decode.decode` raises; ``not_finite`` rather than return a value that is NaN or
        infinite.
    """
    # the process that hands files to specrec.audio.isolated needs none of librosa
    from specrec.audio.analyse import sha256_of  # noqa: PLC0415
    from specrec.audio.decode import decode, opened  # noqa: PLC0415
    from specrec.errors import TrackError  # noqa: PLC0415

    file = opened(source)
    # from the file's rate straight to the model's: what the analysis would cut off is the model's to hear
    clip = decode(file, audio.model_copy(update={"sample_rate": settings.sample_rate}), name)
    mel = model_mel(clip.samples, clip.sample_rate, settings)
    if not np.isfinite(mel).all():
        raise TrackError(
            "not_finite", f"{name or 'the file'} gives no finite mel spectrogram: listen to it, and export it again"
        )
    return ModelMel(sha256_of(file), mel)


def model_mel(samples: Float32Array, sample_rate: int, settings: ModelMelConfig) -> Float32Array:
    """Compute a mel spectrogram by a model's own parameters.

    Equal to ``librosa.feature.melspectrogram`` of what soxr makes of the samples in high quality, scaled.

    Parameters
    ----------
    samples : float32 array, shape (n,)
        Mono, full scale is 1.
    sample_rate : int
        Hz, of the samples; they are resampled if the model's is another.
    settings : ModelMelConfig
        The model's parameters.

    Returns
    -------
    float32 array, shape (n_mels, 1 + resampled samples // hop_length)

    Examples
    --------
    >>> from specrec.audio.config import ModelMelConfig
    >>> settings = ModelMelConfig(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=96, scaling="log_10000")
    >>> model_mel(np.zeros(16_000, np.float32), 16_000, settings).shape
    (96, 63)
    """
    import librosa  # noqa: PLC0415

    from specrec.audio.decode import resample  # noqa: PLC0415

    if sample_rate != settings.sample_rate:
        samples = resample(samples, sample_rate, settings.sample_rate)
    with np.errstate(over="ignore", invalid="ignore"):  # the caller looks for what is not finite
        mel = librosa.feature.melspectrogram(
            y=samples,
            sr=settings.sample_rate,
            n_fft=settings.n_fft,
            hop_length=settings.hop_length,
            n_mels=settings.n_mels,
            fmin=settings.fmin,
            fmax=settings.fmax,
            htk=settings.htk,
            norm=settings.norm,
            power=settings.power,
        )
        scaled: Float32Array = SCALINGS[settings.scaling](mel).astype(np.float32, copy=False)
    return scaled
