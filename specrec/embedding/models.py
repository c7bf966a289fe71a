"""Models in ONNX as spaces: a mel spectrogram in, a vector out, by ONNX Runtime.

A model's first input is float32 of shape (batch, n_mels, n_frames), a mel spectrogram: the stored one, scaled to
0 … 1, or one by parameters of its own (:mod:`specrec.audio.model_mel`). Its first output is float32 of shape
(batch, dimensions); a second, if there is one, float32 of shape (batch, tags), probabilities, whose names are in
the metadata property ``tags``, a list in JSON. The property ``patch_frames`` says of how many frames its input is
meant to be, and ``audio`` on what mel spectrograms it was trained. Any framework can export one; none is needed to
run it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict

import numpy as np

from specrec.arrays import Float32Array
from specrec.audio.config import AudioConfig, ModelMelConfig
from specrec.audio.mel import TOP_DB
from specrec.config import Config
from specrec.embedding.config import SHIPPED, ModelConfig
from specrec.errors import ConfigError, SpecrecError, TrackError, first_line
from specrec.storage import Location, open_store
from specrec.storage.config import StorageConfig

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from specrec.audio.isolated import Analyst


#: Patches that a model is given at once: enough to keep it busy, few enough to fit a core's cache.
_BATCH = 16
#: Properties of a file's metadata.
AUDIO, PATCH_FRAMES, TAGS = "audio", "patch_frames", "tags"
#: Of a track so many tags are kept, at most, and none that the model thinks less probable.
MOST_TAGS, LEAST_SCORE = 5, 0.2
#: Raised by one whenever other tags are kept of the same scores.
_TAGS_VERSION = 1
#: The file of the path ``shipped``; its card lies beside it.
ENCODER = files("specrec.embedding").joinpath("encoder.onnx")
_HEARD_ALIKE = ("sample_rate", "n_fft", "hop_length", "n_mels", "fmin", "fmax", "window")


class Tag(TypedDict):
    """A tag of a track, and its probability; ``schemas.TAG``."""

    name: str
    score: float


@dataclass(frozen=True)
class Model:
    """A model as it is sent to the executors.

    Attributes
    ----------
    name : str
        Of its space.
    content : bytes
        The ONNX file.
    patch_frames : int or None
        Frames of its input; None: whole clips.
    mel : ModelMelConfig or None
        Parameters of its own mel spectrograms; None: the stored ones.
    tags : tuple of str
        Names of its second output.
    sha256 : str
        Of the content, in hexadecimal.
    """

    name: str
    content: bytes = field(repr=False)
    patch_frames: int | None = None
    mel: ModelMelConfig | None = None
    tags: tuple[str, ...] = ()

    @property
    def made_with(self) -> str:
        """What names it among the ingredients of a result."""
        return f"{self.name} {self.sha256}" + (f" tags {_TAGS_VERSION}" if self.tags else "")

    @functools.cached_property
    def sha256(self) -> str:
        """The hash of the file, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Heard:
    """What a model with a mel spectrogram of its own makes of a file.

    Attributes
    ----------
    content_hash : str
        SHA-256 of the file's bytes, in hexadecimal.
    vector : float32, shape (dimensions,)
        All its numbers are finite.
    tags : list of Tag or None
        Of :func:`top_tags`.
    """

    content_hash: str
    vector: Float32Array
    tags: list[Tag] | None


def load_model(name: str, config: Config) -> Model:
    """Read a configured model and try it.

    Raises
    ------
    ConfigError
        If the file is no such model, or was trained on other mel spectrograms than `config.audio` makes.
    SpecrecError
        If it cannot be read.
    """
    settings: ModelConfig = config.embedding.models[name]
    content = _read(name, settings.path, config.storage)
    where = f"embedding.models.{name}: {settings.path}"
    try:
        session = _session(Model(name, content))
        said = session.get_modelmeta().custom_metadata_map
        tags = _names(said.get(TAGS, "[]")) if len(session.get_outputs()) > 1 else ()
        trained_on = json.loads(said.get(AUDIO, "{}"))
        if settings.mel is None:
            _check_audio(where, trained_on, config.audio)
        patch_frames = settings.patch_frames or json.loads(said.get(PATCH_FRAMES, "null"))
        model = Model(name, content, patch_frames, settings.mel, tags)
        silence = np.zeros(((settings.mel or config.audio).n_mels, patch_frames or 256), np.float32)
        vector, scores = outputs(model, silence)
        if scores is not None and tags and len(scores) != len(tags):
            raise ValueError(f"it names {len(tags)} tags and gives {len(scores)} scores")
    except ConfigError:
        raise
    except Exception as error:  # those of onnxruntime have no base of their own
        raise ConfigError(f"{where} is no model of mel spectrograms: {first_line(error)}") from None
    if not np.isfinite(vector).all():
        raise ConfigError(f"{where} gives no finite vector of silence: export it again")
    return model


def _names(said: str) -> tuple[str, ...]:
    """Return what the property ``tags`` lists."""
    try:
        names = json.loads(said)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"its property {TAGS} is no list of names in JSON")
    if len(set(names)) < len(names):
        raise ValueError(f"its property {TAGS} has a name twice")
    return tuple(names)


def outputs(model: Model, mel: Float32Array) -> tuple[Float32Array, Float32Array | None]:
    """Return the vector of a mel spectrogram, and the scores of its tags: means over its patches.

    Clips are never mixed in one batch, so that a vector does not depend, in its last digits, on its neighbours.

    Parameters
    ----------
    mel : float32, shape (n_mels, n_frames)
        As the model was trained on.

    Returns
    -------
    vector : float32, shape (dimensions,)
    scores : float32, shape (tags,), or None
        None if the model has no second output.

    Raises
    ------
    ValueError
        If one of the model's outputs is no row a patch.
    """
    session = _session(model)
    source, targets = session.get_inputs()[0].name, [output.name for output in session.get_outputs()[:2]]
    patches = patches_of(mel, model.patch_frames)
    batches = [
        session.run(targets, {source: np.ascontiguousarray(patches[start : start + _BATCH])})
        for start in range(0, len(patches), _BATCH)
    ]
    means = []
    for rows in map(np.concatenate, zip(*batches, strict=True)):
        if rows.ndim != 2 or len(rows) != len(patches):
            raise ValueError(f"one of its outputs has shape {rows.shape} and not a row for each of {len(patches)}")
        means.append(rows.mean(axis=0, dtype=np.float64).astype(np.float32))
    return means[0], means[1] if len(means) > 1 else None


def hear(model: Model, analyst: Analyst, file: BinaryIO, name: str) -> Heard:
    """Decode a file, in the analyst's process, and run a model on the mel spectrogram that it wants.

    Parameters
    ----------
    model : Model
        One with mel parameters of its own.
    file : binary file
        A real file, open for reading; read from its beginning.
    name : str
        Shown in messages.

    Raises
    ------
    TrackError
        Of :meth:`~specrec.audio.isolated.Analyst.model_mel`; ``failed`` or ``not_finite`` if the model does.
    """
    assert model.mel is not None
    heard = analyst.model_mel(file, model.mel, name)
    try:
        vector, scores = outputs(model, heard.mel)
    except Exception as error:  # onnxruntime's have no base of their own
        raise TrackError("failed", f"{name}: {model.name}: {first_line(error)}") from None
    if not np.isfinite(vector).all():
        raise TrackError("not_finite", f"{name}: {model.name} makes no finite vector of it")
    return Heard(heard.content_hash, vector, top_tags(model, scores))


def top_tags(model: Model, scores: Float32Array | None) -> list[Tag] | None:
    """Return the most probable tags, the first first; see :data:`MOST_TAGS`. None if the model names no tags.

    Parameters
    ----------
    scores : float array or None
        The second of :func:`outputs`.
    """
    if not model.tags or scores is None:
        return None
    best = np.argsort(-scores, kind="stable")[:MOST_TAGS].tolist()
    return [Tag(name=model.tags[i], score=float(scores[i])) for i in best if scores[i] >= LEAST_SCORE]


def unit_mel(mel_db: Float32Array) -> Float32Array:
    """Scale a mel spectrogram from dB against its maximum to 0 (80 dB below it, or less) … 1."""
    scaled: Float32Array = np.clip(1 + mel_db / np.float32(TOP_DB), 0, 1)
    return scaled


def patches_of(mel: Float32Array, frames: int | None) -> Float32Array:
    """Cut a clip into patches, each half a patch after the last; a shorter clip is repeated to one.

    Parameters
    ----------
    mel : float32, shape (n_mels, n_frames)
    frames : int or None
        Of a patch; None: the whole clip is one.

    Returns
    -------
    float32, shape (patches, n_mels, frames)
        A view where it can be.

    Examples
    --------
    >>> mel = np.zeros((128, 1000), np.float32)
    >>> patches_of(mel, 400).shape
    (4, 128, 400)
    >>> patches_of(mel, None).shape
    (1, 128, 1000)
    """
    if frames is None:
        return mel[None]
    if mel.shape[1] < frames:
        mel = np.tile(mel, -(-frames // max(mel.shape[1], 1)))[:, :frames]
    windows = np.lib.stride_tricks.sliding_window_view(mel, frames, axis=1)[:, :: max(frames // 2, 1)]
    return windows.transpose(1, 0, 2)


def _session(model: Model) -> InferenceSession:
    """Return this process's session of a model, which outlives the task."""
    if _last.get("sha256") != model.sha256:
        import onnxruntime  # noqa: PLC0415 - not for those who have no model

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # Spark already runs one task a core
        session = onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
        _last.update(sha256=model.sha256, session=session)
    return _last["session"]


#: The session in use: a worker serves one model at a time.
_last: dict[str, Any] = {}


def _read(name: str, path: Location, storage: StorageConfig) -> bytes:
    if path == SHIPPED:
        return ENCODER.read_bytes()
    try:
        return open_store(path, storage).read(path)
    except (SpecrecError, TrackError) as error:
        raise SpecrecError(f"embedding.models.{name}: cannot read {path}: {error}") from None


def heard(audio: AudioConfig) -> dict[str, object]:
    """Return what a model that is trained on these mel spectrograms says of them: its property ``audio``."""
    made = audio.model_dump(mode="json")
    return {key: made[key] for key in _HEARD_ALIKE}


def _check_audio(where: str, trained_on: dict[str, object], audio: AudioConfig) -> None:
    for key, made in heard(audio).items():
        if key in trained_on and trained_on[key] != made:
            raise ConfigError(
                f"{where} was trained on mel spectrograms of {key} {trained_on[key]}, and audio.{key} is "
                f"{made}: train it anew, or set audio.{key}"
            )
