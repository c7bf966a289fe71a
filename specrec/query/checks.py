"""Whether a query may be asked: in a system that there is, and with the settings of the night."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pandas as pd

from specrec.config import Config
from specrec.embedding.spaces.space import Maker, Space
from specrec.errors import ConfigError, SpecrecError
from specrec.settings import System

#: Columns of the two tables that :func:`check_vectors` compares.
OF_FEATURES = ("track_id", "content_hash", "audio_hash")
OF_VECTORS = ("space", "track_id", "input_hash")


def check_query(config: Config, system: str) -> None:
    """Raise ConfigError if no song can be looked for in a system.

    Examples
    --------
    >>> from specrec.config import load
    >>> config = load(None, ["warehouse=/music/warehouse"], needs_catalogue=False)
    >>> check_query(config, "hybrid")
    >>> check_query(config, "hybird")
    Traceback (most recent call last):
        ...
    specrec.errors.ConfigError: there is no system 'hybird'; there are: features, spectrogram, hybrid
    """
    if system not in config.systems:
        raise ConfigError(f"there is no system {system!r}; there are: {', '.join(config.systems)}")


def check_vectors(
    spaces: Mapping[System, Space], known: Mapping[str, Maker], features: pd.DataFrame, vectors: pd.DataFrame
) -> None:
    """Refuse vectors that this configuration and its artefacts would not have made.

    Parameters
    ----------
    spaces : dict of Space
        Those whose vectors are used.
    known : dict
        Artefacts and models by name, those of each space's ``makers`` among them.
    features : DataFrame
        :data:`OF_FEATURES` of ``audio_features``, of some tracks.
    vectors : DataFrame
        :data:`OF_VECTORS` of ``embeddings``, of the same tracks.

    Raises
    ------
    SpecrecError
        If none of the vectors of a space was made as it would be now.
    """
    made_of = {row[0]: row[1:] for row in features[list(OF_FEATURES)].itertuples(index=False)}
    for name, space in spaces.items():
        accepted = space.ingredients(known)
        rows = vectors[vectors["space"] == name]
        of_tracks = made_of if space.is_of_the_file else {track: (*of, track) for track, of in made_of.items()}
        if not any(
            found in {_sha256(*of_tracks[track_id], *made_with) for made_with in accepted}
            for track_id, found in zip(rows["track_id"], rows["input_hash"], strict=True)
            if track_id in of_tracks
        ):
            raise SpecrecError(
                f"the vectors of the space {name} were made with other settings or artefacts: give the "
                "configuration that the night ran with, or run `specrec nightly` with this one"
            )


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
