"""Typed configuration: YAML, then ``--set key=value``, checked before anything is read or written.

Secrets have no place in it: credentials of object storage come from the environment
(``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``) or the machine's own role.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from specrec.errors import ConfigError

#: Raised by one whenever the code computes other numbers from the same audio and parameters.
EXTRACTOR_VERSION = 3
#: Likewise for the embeddings.
EMBEDDING_VERSION = 3
#: Likewise for the groups of one recording.
DUPLICATES_VERSION = 1
#: Likewise for lists and sentences.
RECOMMEND_VERSION = 3
#: Likewise for the map.
MAP_VERSION = 1

Hubs = Literal["off", "local_scaling", "mutual_proximity"]

#: The path of the model that lies in the package, trained on clips like the demo's (deploy/ship_encoder.py).
SHIPPED = "shipped"

#: A space and the lists made of it: one of :data:`SYSTEMS`, or the name of a model of ``embedding.models``.
System = str
#: Those that every run has; see :attr:`Config.systems`.
SYSTEMS: tuple[System, ...] = ("features", "spectrogram", "hybrid")

Stage = Literal["ingest", "extract", "fit", "embed", "neighbours", "duplicates", "recommend", "map"]
#: In the order of a night.
STAGES: tuple[Stage, ...] = get_args(Stage)

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CatalogueConfig(Section):
    """Where the tracks are listed, and where their audio lies."""

    path: str = Field(description="CSV, Parquet or Delta table, or a folder of audio files")
    format: Literal["auto", "csv", "parquet", "delta", "folder"] = Field(
        default="auto", description="auto: by the path's ending; what has none is a Delta table or a folder"
    )
    audio_root: str | None = Field(
        default=None,
        description="folder or s3:// prefix that `audio` is relative to; default: beside the catalogue",
    )
    max_removed_share: Share = Field(
        default=0.5, description="stop before anything is deleted if more than this share of the tracks vanished"
    )


class StorageConfig(Section):
    """How object storage is reached. Credentials come from the environment, never from here."""

    endpoint_url: str | None = Field(default=None, description="an S3-compatible server; null: AWS")
    region: str = Field(default="us-east-1", description="region of the buckets")
    path_style: bool = Field(default=False, description="true for most S3-compatible servers")
    max_attempts: PositiveInt = Field(default=5, description="tries of one request before it is a storage_error")
    deadline_seconds: PositiveFloat = Field(
        default=120.0, description="time for one file, all tries together, before it is a storage_error"
    )


class AudioConfig(Section):
    """What is analysed of each file, and how. Any change extracts every track anew."""

    sample_rate: PositiveInt | None = Field(
        default=22_050, description="Hz, resampled to; null: each file's own; set fmax then"
    )
    offset_seconds: Annotated[float, Field(ge=0)] = Field(default=0.0, description="where the analysed clip begins")
    clip_seconds: PositiveFloat = Field(default=30.0, description="its length; shorter files are used whole")
    min_seconds: PositiveFloat = Field(default=1.0, description="less audio than this is too_short")
    silence_db: float = Field(default=-80.0, description="dB of full scale; a peak below it is silent")
    n_fft: Annotated[int, Field(gt=0, multiple_of=2)] = Field(
        default=2048, description="samples of an STFT window, an even number"
    )
    hop_length: PositiveInt = Field(default=512, description="samples from one STFT frame to the next")
    window: str = Field(default="hann", description="window function, by its scipy name")
    pad_mode: Literal["constant", "reflect", "edge"] = Field(
        default="constant", description="how the ends are padded; librosa before 0.10 used reflect"
    )
    n_mels: PositiveInt = Field(default=128, description="mel bands")
    fmin: Annotated[float, Field(ge=0)] = Field(default=0.0, description="Hz, lowest mel band")
    fmax: PositiveFloat | None = Field(default=None, description="Hz, highest mel band; null: half the sample rate")
    n_mfcc: PositiveInt = Field(default=20, description="mel-frequency cepstral coefficients")

    @model_validator(mode="after")
    def _consistent(self) -> AudioConfig:
        if self.hop_length > self.n_fft:
            raise ValueError("hop_length must not exceed n_fft, or samples between frames are never seen")
        if self.min_seconds > self.clip_seconds:
            raise ValueError("min_seconds must not exceed clip_seconds")
        if self.n_mfcc > self.n_mels:
            raise ValueError("n_mfcc must not exceed n_mels")
        highest = min(self.fmax or float("inf"), self.sample_rate / 2 if self.sample_rate else float("inf"))
        if self.fmax and self.fmax > highest:
            raise ValueError("fmax must not exceed half of sample_rate")
        if self.fmin >= highest:
            raise ValueError(f"fmin must be below {highest:g} Hz")
        if self.window != "hann":  # SciPy takes a second to import
            from scipy.signal import get_window  # noqa: PLC0415

            try:
                get_window(self.window, 16)
            except ValueError:
                raise ValueError(f"scipy knows no window {self.window!r}") from None
        return self


class ExtractConfig(Section):
    """How extraction is cut into tasks and what it tolerates. Nothing here changes a value."""

    commit_every: PositiveInt = Field(default=2_000, description="files decoded between two commits")
    files_per_task: PositiveInt = Field(default=40, description="files of one Spark task, about")
    batch_rows: PositiveInt = Field(default=16, description="tracks in one Arrow batch from Python to Spark")
    max_failed_share: Share = Field(
        default=0.2, description="fail the run if more of the catalogue's audio files than this are in quarantine"
    )
    max_file_mb: PositiveInt = Field(default=500, description="a larger file is too_large and is not fetched")
    prefetch: PositiveInt = Field(default=2, description="files fetched ahead while one is analysed")
    time_limit_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=60.0, description="a file that takes longer to analyse is timed_out"
    )
    memory_limit_mb: Annotated[int, Field(ge=400)] = Field(
        default=640, description="memory of the process that analyses; a file that needs more is out_of_memory"
    )


class FitConfig(Section):
    """What is fitted to the catalogue, and when it is fitted anew."""

    sample_tracks: PositiveInt = Field(
        default=20_000, description="tracks that scaler and statistics are fitted on"
    )
    sample_spectrograms: PositiveInt = Field(default=5_000, description="spectrograms that the PCA is fitted on")
    max_drift: PositiveFloat = Field(
        default=0.5, description="mean shift of the features, in fitted standard deviations, that forces a new fit"
    )
    seed: int = Field(default=0, description="chooses the sample")


class ModelMelConfig(Section):
    """The mel spectrogram that a model was trained on, as librosa.feature.melspectrogram computes it."""

    sample_rate: PositiveInt = Field(description="Hz, resampled to")
    n_fft: PositiveInt = Field(description="samples of an STFT window (hann)")
    hop_length: PositiveInt = Field(description="samples from one STFT frame to the next")
    n_mels: PositiveInt = Field(description="mel bands")
    fmin: Annotated[float, Field(ge=0)] = Field(default=0.0, description="Hz, lowest mel band")
    fmax: PositiveFloat | None = Field(default=None, description="Hz, highest mel band; null: half the sample rate")
    htk: bool = Field(default=False, description="HTK's formula of the mel scale, and not Slaney's")
    norm: Literal["slaney"] | None = Field(
        default="slaney", description="slaney: each band's filter has unit area; null: unit height"
    )
    power: Literal[1, 2] = Field(default=2, description="1: of magnitudes; 2: of power")
    scaling: Literal["unit_db", "db", "log_10000", "log"] = Field(
        description="unit_db: 0 … 1, the 80 dB below the maximum; db: dB of unit power; log_10000: "
        "log10(1 + 10000 x); log: ln(x + 1e-6)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ModelMelConfig:
        if self.hop_length > self.n_fft:
            raise ValueError("hop_length must not exceed n_fft, or samples between frames are never seen")
        if self.fmax and self.fmax > self.sample_rate / 2:
            raise ValueError("fmax must not exceed half of sample_rate")
        highest = self.fmax or self.sample_rate / 2
        if self.fmin >= highest:
            raise ValueError(f"fmin must be below {highest:g} Hz")
        return self


class ModelConfig(Section):
    """A model in ONNX that makes a vector of a mel spectrogram: a space, and a system, of its own."""

    path: str = Field(
        description=f"the .onnx file, on disk or s3://; {SHIPPED}: the encoder that comes with specrec"
    )
    patch_frames: PositiveInt | None = Field(
        default=None,
        description="frames of its input; vectors of a clip's patches are averaged; "
        "null: as the file says, else whole clips",
    )
    mel: ModelMelConfig | None = Field(
        default=None, description="what its input is; null: the stored mel spectrograms, scaled to 0 … 1"
    )

    @model_validator(mode="after")
    def _heard(self) -> ModelConfig:
        if self.path == SHIPPED and self.mel is not None:
            raise ValueError(f"path: the encoder {SHIPPED!r} takes the stored mel spectrograms: leave mel out")
        return self


class EmbeddingConfig(Section):
    """The vector spaces."""

    family_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {
            "timbre": 3.0,
            "brightness": 1.0,
            "harmony": 3.0,
            "rhythm": 3.0,
            "dynamics": 1.0,
            "noisiness": 1.0,
        },
        description="weight of each family of features in the space `features`",
    )
    clip_sd: PositiveFloat = Field(default=4.0, description="standardised features are clipped to ± this")
    pca_components: PositiveInt = Field(default=64, description="dimensions of the space `spectrogram`")
    models: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], ModelConfig] = Field(
        default_factory=dict,
        description="models by name, each a further system: {path: FILE.onnx}; "
        f"{{encoder: {{path: {SHIPPED}}}}} is the encoder that comes with specrec",
    )
    hybrid_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {"features": 0.6, "spectrogram": 0.4},
        description="weight of each system in `hybrid`; they are divided by their sum; who is not named has none",
    )

    @model_validator(mode="after")
    def _weights(self) -> EmbeddingConfig:
        families = ("timbre", "brightness", "harmony", "rhythm", "dynamics", "noisiness")
        for name in self.family_weights:
            if name not in families:
                raise ValueError(f"family_weights has no family {name!r}{_nearest(name, families)}")
        if not any(self.family_weights.values()):
            raise ValueError("at least one of family_weights must be positive")
        for name in self.models:
            if name in SYSTEMS:
                raise ValueError(f"models: {name!r} is the name of a space that every run has; choose another")
        parts = ("features", "spectrogram", *self.models)
        for name in self.hybrid_weights:
            if name not in parts:
                raise ValueError(f"hybrid_weights has no system {name!r}{_nearest(name, parts)}")
        if not any(self.hybrid_weights.values()):
            raise ValueError("at least one of hybrid_weights must be positive")
        return self

    @property
    def hybrid_shares(self) -> dict[str, float]:
        """The share of each system in `hybrid`, in the order of its vector; they sum to 1."""
        total = sum(self.hybrid_weights.values())
        parts = ("features", "spectrogram", *sorted(self.models))
        return {name: self.hybrid_weights[name] / total for name in parts if self.hybrid_weights.get(name)}


#: Settings of the search that change how it is done and not what comes out.
_NO_RESULT = {"block_rows", "rebuild_share", "recall_sample", "update_from"}


class NeighboursConfig(Section):
    """The search for the nearest tracks."""

    method: Literal["auto", "exact", "approximate"] = Field(
        default="auto", description="exact compares all with all; auto does so up to `exact_up_to` tracks"
    )
    exact_up_to: PositiveInt = Field(default=20_000, description="where exact search is about as fast")
    top_n: PositiveInt = Field(default=30, description="neighbours kept a track; more than recommend.top_n")
    cells: PositiveInt | None = Field(default=None, description="of the approximate search; null: by the tracks")
    probes: PositiveInt | None = Field(
        default=None, description="cells that a track is compared with, at least; null: what recall_floor needs"
    )
    recall_floor: float = Field(
        default=0.97, gt=0, lt=1, description="share of the true neighbours that the lists must hold"
    )
    recall_sample: int = Field(default=1_000, ge=100, description="tracks that recall is measured on, each run")
    rebuild_share: float = Field(
        default=0.3, ge=0, le=1, description="a space of which more changed is searched as a whole"
    )
    update_from: int = Field(
        default=10_000, ge=0, description="a space of fewer tracks is always searched as a whole: it is faster"
    )
    block_rows: PositiveInt = Field(default=16_384, description="tracks of one block")


class DuplicatesConfig(Section):
    """When two tracks are one recording. To miss a duplicate is the lesser error."""

    min_cosine: float = Field(
        default=0.8, ge=-1, le=1, description="tracks nearer than this in the space `spectrogram` are compared"
    )
    max_rank: PositiveInt = Field(default=5, description="so many of a track's neighbours, at most")
    min_similarity: float = Field(
        default=0.85, gt=0, le=1, description="correlation of two spectrograms that makes them one recording"
    )
    min_overlap: float = Field(
        default=0.9, gt=0, le=1, description="share of the longer clip that the other must cover"
    )
    duration_tolerance: Annotated[float, Field(ge=0)] = Field(
        default=5.0, description="seconds that the catalogue's lengths of one recording may differ by"
    )


class RecommendConfig(Section):
    """The lists that services read."""

    top_n: PositiveInt = Field(default=10, description="recommendations a track")
    excerpt_seconds: Annotated[float, Field(ge=1)] = Field(
        default=5.0, description="length of the excerpts that are matched; a change embeds and searches anew"
    )
    hubs: Hubs = Field(
        default="mutual_proximity",
        description="how tracks that are near to all others are kept from filling all lists",
    )
    max_per_artist: PositiveInt | None = Field(default=2, description="of one artist in a list; null: no limit")
    max_per_album: PositiveInt | None = Field(
        default=2, description="of one album of an artist in a list; null: no limit"
    )
    min_duration_seconds: PositiveFloat | None = Field(
        default=None, description="shorter tracks, by the catalogue, are not recommended"
    )
    max_duration_seconds: PositiveFloat | None = Field(
        default=None, description="longer tracks, by the catalogue, are not recommended"
    )
    explicit: bool = Field(
        default=True, description="false: explicit tracks, by the catalogue, are not recommended"
    )
    market: str | None = Field(
        default=None,
        pattern="^[A-Z]{2}$",
        description='country code such as "DE"; tracks that are not available there are not recommended',
    )

    @field_validator("hubs", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return "off" if value is False else value  # as YAML reads it

    @field_validator("market", mode="before")
    @classmethod
    def _norway(cls, value: Any) -> Any:
        if value is False:
            raise ValueError('YAML reads this as false; write "NO" in quotes')
        return value

    @model_validator(mode="after")
    def _some_duration(self) -> RecommendConfig:
        if (self.min_duration_seconds or 0) > (self.max_duration_seconds or float("inf")):
            raise ValueError("min_duration_seconds must not exceed max_duration_seconds")
        return self


class MapConfig(Section):
    """The map: two coordinates a track, and clusters."""

    space: System = Field(default="hybrid", description="the space that is drawn")
    sample_tracks: PositiveInt = Field(
        default=20_000, description="tracks that the map is fitted on; all others are placed among them"
    )
    refit_share: Share = Field(
        default=0.5, description="fit anew when more than this share of the sample is of new or changed tracks"
    )
    neighbours: Annotated[int, Field(ge=2)] = Field(
        default=15, description="that UMAP looks at: more show the whole, fewer the detail"
    )
    tsne_up_to: Annotated[int, Field(ge=0)] = Field(
        default=5_000, description="t-SNE is fitted for catalogues of up to so many tracks"
    )
    min_clusters: PositiveInt = Field(default=4, description="the silhouette chooses from this number of clusters")
    max_clusters: PositiveInt = Field(default=12, description="up to this one")

    @model_validator(mode="after")
    def _some_number(self) -> MapConfig:
        if self.min_clusters > self.max_clusters:
            raise ValueError("min_clusters must not exceed max_clusters")
        return self


class EvaluateConfig(Section):
    """What `specrec evaluate` measures. Nothing here changes a list."""

    sample_tracks: PositiveInt = Field(default=2_000, description="tracks that a metric is measured on, at most")
    song_column: str = Field(
        default="source_song", description="column of the catalogue that names the song a clip is of"
    )
    feedback: str | None = Field(
        default=None, description="CSV with the columns track_id, liked and disliked; null: none"
    )
    resamples: PositiveInt = Field(default=1_000, description="bootstrap resamples of an interval")
    seed: int = Field(default=0, description="chooses the sample, the random lists and the resamples")


class EncoderConfig(Section):
    """The encoder that `specrec train-encoder` trains. Nothing here changes a night."""

    architecture: Literal["contrastive", "autoencoder"] = Field(
        default="contrastive", description="contrastive: tells tracks apart; autoencoder: rebuilds a spectrogram"
    )
    dimensions: Annotated[int, Field(ge=2, multiple_of=2)] = Field(
        default=256, description="of its vectors, an even number"
    )
    patch_frames: Annotated[int, Field(ge=16)] = Field(
        default=216, description="STFT frames of the excerpts that it is trained on; 216 are 5 s"
    )
    sample_tracks: PositiveInt = Field(default=20_000, description="tracks that it is trained and judged on")
    held_out_share: float = Field(
        default=0.1, gt=0, le=0.5, description="share of the artists that it is judged by and not trained on"
    )
    epochs: PositiveInt = Field(default=40, description="passes over the sample, at most")
    patience: PositiveInt = Field(
        default=20, description="passes without a better held-out loss before training stops early"
    )
    excerpts_per_track: PositiveInt = Field(default=4, description="excerpts (or pairs) of each track in a pass")
    batch_size: Annotated[int, Field(ge=2)] = Field(default=64, description="excerpts (or pairs) of one step")
    learning_rate: PositiveFloat = Field(
        default=0.001, description="of AdamW, at its greatest; an autoencoder of thousands of tracks learns by 0.01"
    )
    temperature: PositiveFloat = Field(default=0.1, description="of the contrastive loss")
    distillation: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="weight of a loss by which a contrastive encoder also tells the features; 0: none"
    )
    whitening: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="of a contrastive encoder's vectors: 0 none, 1 all that changes within a clip alike",
    )
    label_column: str | None = Field(
        default="track_genre",
        description="column of the catalogue, for tracks that have a label: a contrastive encoder hears what "
        "sets labels apart; null: none",
    )
    label_weight: float = Field(
        default=0.15, ge=0, lt=1, description="share of a vector's squared length given to what tells labels apart"
    )
    threads: PositiveInt = Field(default=2, description="of the CPU, where there is no GPU")
    seed: int = Field(default=0, description="chooses the sample, the split, the weights and the excerpts")


class SparkConfig(Section):
    """The Spark session, where spark-submit did not already decide."""

    master: str | None = Field(default=None, description="null: as spark-submit says, else local[*]")
    shuffle_partitions: PositiveInt = Field(default=4, description="partitions after a shuffle")
    snapshot_partitions: PositiveInt = Field(default=2, description="Delta's own; 50 or more for large tables")
    driver_memory: str = Field(default="2g", description="of the local mode")
    jars_dir: str = Field(
        default=".jars", description="where `specrec jars` put Delta and S3A; else Maven is asked"
    )
    conf: dict[str, str] = Field(default_factory=dict, description="further spark.* settings")


class LogConfig(Section):
    """Structured logs, one line an event."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level shown")
    format: Literal["auto", "console", "json"] = Field(default="auto", description="auto: console on a terminal")


class Config(Section):
    """The whole configuration of a run."""

    warehouse: str = Field(description="folder or s3a:// prefix of the Delta tables")
    catalogue: CatalogueConfig
    storage: StorageConfig = Field(default_factory=StorageConfig)
    audio: AudioConfig = Field(default_factory=AudioConfig)
    extract: ExtractConfig = Field(default_factory=ExtractConfig)
    fit: FitConfig = Field(default_factory=FitConfig)
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
    neighbours: NeighboursConfig = Field(default_factory=NeighboursConfig)
    duplicates: DuplicatesConfig = Field(default_factory=DuplicatesConfig)
    recommend: RecommendConfig = Field(default_factory=RecommendConfig)
    map: MapConfig = Field(default_factory=MapConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    encoder: EncoderConfig = Field(default_factory=EncoderConfig)
    spark: SparkConfig = Field(default_factory=SparkConfig)
    log: LogConfig = Field(default_factory=LogConfig)

    @model_validator(mode="after")
    def _lists_fit(self) -> Config:
        if self.recommend.top_n > self.neighbours.top_n:
            raise ValueError("recommend.top_n must not exceed neighbours.top_n")
        if self.map.space not in self.systems:
            raise ValueError(
                f"map.space: there is no space {self.map.space!r}{_nearest(self.map.space, self.systems)}"
            )
        return self

    @property
    def systems(self) -> tuple[System, ...]:
        """Those that this configuration makes lists of: the hybrid comes last."""
        return ("features", "spectrogram", *sorted(self.embedding.models), "hybrid")

    @property
    def models_in_hybrid(self) -> list[str]:
        """The models that have a part in ``hybrid``."""
        return [name for name in self.embedding.hybrid_shares if name in self.embedding.models]

    def models_of(self, system: System) -> list[str]:
        """Return the models that the scores of a system are made of."""
        if system == "hybrid":
            return self.models_in_hybrid
        return [system] if system in self.embedding.models else []

    @property
    def audio_hash(self) -> str:
        """What the features and mel spectrograms depend on, besides the audio itself."""
        return _hash(EXTRACTOR_VERSION, self.audio)

    def artefact_hash(self, name: str) -> str:
        """Return the hash of what an artefact depends on, besides the tracks that it is fitted on."""
        if name.endswith("_cells"):
            space = name.removesuffix("_cells")
            return _hash(self.space_hash(space), self.neighbours.cells, self.fit.seed)
        if name == "map":
            settings = self.map.model_dump(exclude={"refit_share"})
            return _hash(MAP_VERSION, self.space_hash(self.map.space), settings, self.fit.seed)
        fit, own = self.fit, self.embedding.pca_components if name == "spectrogram_pca" else None
        samples = [fit.sample_tracks, fit.sample_spectrograms, fit.seed]
        return _hash(EMBEDDING_VERSION, name, self.audio_hash, samples, own)

    def space_hash(self, space: str) -> str:
        """Return the hash of what the vectors of a space depend on, besides the audio and the artefact."""
        embedding = self.embedding
        if space == "hybrid":
            shares = embedding.hybrid_shares
            return _hash(EMBEDDING_VERSION, space, [self.space_hash(part) for part in shares], shares)
        if space == "features":
            own = [embedding.family_weights, embedding.clip_sd]
        elif space == "spectrogram":
            own = [self.recommend.excerpt_seconds]
        else:  # what the file holds is told by its own hash
            own = [embedding.models[space].model_dump(exclude={"path"})]
        return _hash(EMBEDDING_VERSION, space, self.audio_hash, own)

    def neighbours_hash(self, space: str) -> str:
        """Return the hash of what a space's neighbours depend on, besides the embeddings. Blocks change nothing."""
        return _hash(self.space_hash(space), self.neighbours.model_dump(exclude=_NO_RESULT))

    @property
    def duplicates_hash(self) -> str:
        """What the groups of one recording depend on, besides tracks, spectrograms and neighbours."""
        return _hash(DUPLICATES_VERSION, self.audio_hash, self.duplicates)

    def recommend_hash(self, system: str) -> str:
        """Return the hash of what a system's lists depend on, besides neighbours, embeddings and tracks."""
        return _hash(RECOMMEND_VERSION, self.neighbours_hash(system), self.recommend)

    @property
    def results_hash(self) -> str:
        """Everything that changes a result: one short name for the configuration, in ``runs``."""
        lists = (self.recommend_hash(system) for system in self.systems)
        return _hash(self.fit, self.embedding, self.duplicates_hash, *lists, self.artefact_hash("map"))


def load(path: str | Path | None, overrides: Iterable[str] = (), needs_catalogue: bool = True) -> Config:
    """Read a configuration file and apply ``key=value`` overrides.

    Parameters
    ----------
    path : path of a YAML file, or None to build it from overrides alone.
    overrides : strings such as ``audio.clip_seconds=10``; the value is read as YAML, unless it is text anyway.
    needs_catalogue : whether ``catalogue.path`` must be given; reading the tables does without.

    Raises
    ------
    ConfigError
        In one line: unreadable file, unknown key (with the nearest valid one), or bad value.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read configuration {path}: {error.strerror or error}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid YAML: {_one_line(error)}") from None
        if loaded is not None and not isinstance(loaded, dict):
            raise ConfigError(f"{path} must hold `key: value` pairs, not a {type(loaded).__name__}")
        data = {key: value for key, value in (loaded or {}).items() if value is not None}  # `audio:` alone
    for override in overrides:
        _apply(data, override)
    if not needs_catalogue and isinstance(data.setdefault("catalogue", {}), dict):
        data["catalogue"].setdefault("path", "")
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield ``(dotted key, description, default)`` of every setting."""
    for name, info in model.model_fields.items():
        section = _section(info.annotation)
        if section is not None:
            yield from fields(section, f"{prefix}{name}.")
        else:
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            yield f"{prefix}{name}", info.description or "", default


def _section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _texts(model: type[BaseModel] = Config, prefix: str = "") -> set[str]:
    """Return the keys whose values are text."""
    found = set()
    for name, info in model.model_fields.items():
        section = _section(info.annotation)
        if section is not None:
            found |= _texts(section, f"{prefix}{name}.")
        elif info.annotation in (str, str | None):
            found.add(f"{prefix}{name}")
    return found


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {override!r}: write it as key=value, for example audio.clip_seconds=10")
    value: Any = text
    if key.strip() not in _texts():  # a path with a colon, a hash or a bracket is meant as it stands
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override!r}: not a YAML value: {_one_line(error)}") from None
    elif text in ("", "null", "~"):
        value = None
    node = data
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {part} is a value, not a section")
        node = child
    node[parts[-1]] = value


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        valid = [name for name, _, _ in fields()] + list(Config.model_fields)
        return f"unknown configuration key {key!r}{_nearest(key, valid)}{more}"
    if first["type"] == "missing":
        return f"configuration lacks {key!r}: set it in the file or with --set {key}=…{more}"
    message = first["msg"].removeprefix("Value error, ")
    where = f"{key}: " if key else ""
    got = f" (got {first['input']!r})" if isinstance(first["input"], str | int | float | bool) else ""
    return f"configuration {where}{message}{got}{more}"


def _nearest(name: str, valid: Iterable[str]) -> str:
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not close:  # the right key in the wrong section
        close = [full for full in names if full.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return f": did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(names)}"


def _hash(*parts: Any) -> str:
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


__all__ = ["SYSTEMS", "AudioConfig", "Config", "System", "fields", "load"]
