"""Which settings the results of each stage depend on, in short: the hashes of the sections, each upon the last.

Each section says itself what its hash is made of; here it is said which other hashes it is given.
"""

from __future__ import annotations

from specrec.config import Config
from specrec.embedding.spaces import spaces_of
from specrec.listeners.config import OF_RESULTS
from specrec.settings import SettingsHash, System, hash_of, settings_hash

_DURATIONS = ("min_duration_seconds", "max_duration_seconds")


def neighbours_hash(config: Config, space: System) -> SettingsHash:
    """Return what a space's neighbours depend on, besides the embeddings."""
    return config.neighbours.settings_hash(spaces_of(config)[space].settings_hash)


def duplicates_hash(config: Config) -> SettingsHash:
    """Return what the groups of one recording depend on, besides tracks, spectrograms and neighbours."""
    return config.duplicates.settings_hash(config.audio_hash)


def comparison_hash(config: Config) -> SettingsHash:
    """Return what it depends on how alike two spectrograms are, besides these."""
    return config.duplicates.comparison_hash(config.audio_hash)


def recommend_hash(config: Config, system: System) -> SettingsHash:
    """Return what a system's lists depend on, besides neighbours, embeddings and tracks."""
    return config.recommend.settings_hash(neighbours_hash(config, system))


def map_hash(config: Config) -> SettingsHash:
    """Return what the map depends on, besides the embeddings that it is fitted to."""
    return config.map.settings_hash(spaces_of(config)[config.map.space].settings_hash, config.fit.seed)


def blend_hash(config: Config) -> SettingsHash:
    """Return what it depends on how much each component of people's scores counts, besides what is fitted."""
    space = spaces_of(config)[config.listeners.space].settings_hash
    return config.listeners.blend_hash(space, config.fit.seed)


def people_hash(config: Config) -> SettingsHash:
    """Return what people's lists depend on, besides preferences, vectors, and what is fitted to listeners."""
    return config.listeners.lists_hash(
        spaces_of(config)[config.listeners.space].settings_hash, _allowed_hash(config)
    )


def _allowed_hash(config: Config) -> SettingsHash:
    of = config.recommend
    return settings_hash(of.differing("max_per_artist", "max_per_album", "explicit", "market", *_DURATIONS))


def results_hash(config: Config) -> str:
    """Return one short name of all settings that change a result, for ``runs``."""
    lists = (recommend_hash(config, system) for system in config.systems)
    listeners = config.listeners.differing(*OF_RESULTS)  # only if there are any: what came later changes no hash
    return hash_of(
        config.fit.differing(),
        config.embedding.differing(),
        duplicates_hash(config),
        *lists,
        map_hash(config),
        *([listeners] if listeners else []),
    )
