"""Typed configuration: YAML, then ``--set key=value``, checked before anything is read or written.

Secrets have no place in it: credentials of object storage come from the environment
(``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``) or the machine's own role.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from specrec.audio.config import AudioConfig, ExtractConfig
from specrec.catalogue.config import CatalogueConfig
from specrec.duplicates.config import DuplicatesConfig
from specrec.embedding.config import BUILT_IN, FEATURES, HYBRID, LISTENERS, EmbeddingConfig, FitConfig
from specrec.encoder.config import EncoderConfig
from specrec.errors import ConfigError
from specrec.evaluate.config import EvaluateConfig
from specrec.listeners.config import ListenersConfig
from specrec.map.config import MapConfig
from specrec.neighbours.config import NeighboursConfig
from specrec.recommend.config import RecommendConfig
from specrec.settings import PositiveInt, Section, SettingsHash, System, nearest_name
from specrec.storage import Location, TablesPlace
from specrec.storage.config import StorageConfig
from specrec.warehouse.config import MaintainConfig


class SparkConfig(Section):
    """The Spark session, where spark-submit did not already decide."""

    master: str | None = Field(
        default=None, description="Spark's master; null: what spark-submit says, else local[*]"
    )
    shuffle_partitions: PositiveInt = Field(default=4, description="number of partitions after a shuffle")
    snapshot_partitions: PositiveInt = Field(
        default=2,
        description="number of partitions in which Delta keeps the state of a table; large tables need 50 or more",
    )
    driver_memory: str = Field(default="2g", description="memory of the JVM in Spark's local mode")
    jars_dir: str = Field(
        default=".jars",
        description="folder that `specrec jars` fetched the jars for Delta and S3 into; where there is none, "
        "Spark asks Maven",
    )
    conf: dict[str, str] = Field(default_factory=dict, description="further spark.* settings")


class LogConfig(Section):
    """Structured logs, one line an event."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level of the events that are logged"
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="console: for people; json: one object a line; auto: console on a terminal, else json",
    )


class Config(Section):
    """The whole configuration of a run."""

    warehouse: TablesPlace = Field(min_length=1, description="folder or s3:// prefix of the Delta tables")
    catalogue: CatalogueConfig
    storage: StorageConfig = Field(default_factory=StorageConfig)
    audio: AudioConfig = Field(default_factory=AudioConfig)
    extract: ExtractConfig = Field(default_factory=ExtractConfig)
    listeners: ListenersConfig = Field(default_factory=ListenersConfig)
    fit: FitConfig = Field(default_factory=FitConfig)
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
    neighbours: NeighboursConfig = Field(default_factory=NeighboursConfig)
    duplicates: DuplicatesConfig = Field(default_factory=DuplicatesConfig)
    recommend: RecommendConfig = Field(default_factory=RecommendConfig)
    map: MapConfig = Field(default_factory=MapConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    encoder: EncoderConfig = Field(default_factory=EncoderConfig)
    maintain: MaintainConfig = Field(default_factory=MaintainConfig)
    spark: SparkConfig = Field(default_factory=SparkConfig)
    log: LogConfig = Field(default_factory=LogConfig)

    @model_validator(mode="after")
    def _lists_fit(self) -> Config:
        if self.recommend.top_n > self.neighbours.top_n:
            raise ValueError("recommend.top_n must not exceed neighbours.top_n")
        if self.map.space not in self.systems:
            raise ValueError(
                f"map.space: there is no space {self.map.space!r}{nearest_name(self.map.space, self.systems)}"
            )
        return self

    @model_validator(mode="after")
    def _listeners_fit(self) -> Config:
        joined = self.embedding.hybrid_shares
        if LISTENERS in joined and LISTENERS not in self.systems:
            raise ValueError(
                f"embedding.hybrid_weights: there is no space {LISTENERS!r} without listeners.events and "
                "embedding.listeners"
            )
        if self.listeners.space == LISTENERS or (self.listeners.space == HYBRID and LISTENERS in joined):
            raise ValueError(
                f"listeners.space: {self.listeners.space!r} is made of what people like: name a space of sound, "
                f"such as {FEATURES!r}"
            )
        return self

    @property
    def systems(self) -> tuple[System, ...]:
        """Those that this configuration makes lists of: the hybrid comes last."""
        has_listeners = self.embedding.listeners and self.listeners.events is not None
        return (*BUILT_IN, *sorted(self.embedding.models), *([LISTENERS] if has_listeners else []), HYBRID)

    @property
    def audio_hash(self) -> SettingsHash:
        """What the features and mel spectrograms depend on, besides the audio itself."""
        return self.audio.settings_hash


def load(path: str | Path | None, overrides: Iterable[str] = (), needs_catalogue: bool = True) -> Config:
    """Read a configuration file and apply ``key=value`` overrides.

    Parameters
    ----------
    path : str, Path or None
        Path of a YAML file, or None to build it from overrides alone.
    overrides : iterable of str
        Strings such as ``audio.clip_seconds=10``; the value is read as YAML, unless it is text anyway.
    needs_catalogue : bool
        Whether ``catalogue.path`` must be given; reading the tables does without.

    Raises
    ------
    ConfigError
        In one line: unreadable file, unknown key (with the nearest valid one), or bad value.

    Examples
    --------
    >>> config = load(None, ["warehouse=/music/warehouse", "audio.clip_seconds=10"], needs_catalogue=False)
    >>> config.audio.clip_seconds, config.systems
    (10.0, ('features', 'spectrogram', 'hybrid'))
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


def _is_text(annotation: Any) -> bool:
    """Tell whether a setting is text, or a place, or may also be null."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return all(part is NoneType or _is_text(part) for part in get_args(annotation))
    return annotation in (str, Location)


def _texts(model: type[BaseModel] = Config, prefix: str = "") -> set[str]:
    """Return the keys whose values are text."""
    found = set()
    for name, info in model.model_fields.items():
        section = _section(info.annotation)
        if section is not None:
            found |= _texts(section, f"{prefix}{name}.")
        elif _is_text(info.annotation):
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
        return f"unknown configuration key {key!r}{nearest_name(key, valid)}{more}"
    if first["type"] == "missing":
        return f"configuration lacks {key!r}: set it in the file or with --set {key}=…{more}"
    message = first["msg"].removeprefix("Value error, ")
    where = f"{key}: " if key else ""
    got = f" (got {first['input']!r})" if isinstance(first["input"], str | int | float | bool) else ""
    return f"configuration {where}{message}{got}{more}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
