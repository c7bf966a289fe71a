"""The catalogue as queries see it: the tables and artefacts of the last night, read by delta-rs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from specrec.audio.analyse import Analysis
from specrec.config import Config
from specrec.embedding.models import Heard, load_model
from specrec.embedding.spaces import models_for, needed_for
from specrec.embedding.spaces.listeners import UNHEARD
from specrec.embedding.spaces.space import Maker, Space
from specrec.embedding.spectrogram import band_centres
from specrec.embedding.statistics import ATTRIBUTES, COLUMNS, statistics_artefact
from specrec.errors import SpecrecError, TrackError
from specrec.neighbours.kernel import has_direction
from specrec.query.checks import OF_FEATURES, OF_VECTORS, check_vectors
from specrec.query.choose import Known, choose_list, itself
from specrec.query.nearest import nearest
from specrec.recommend.explain import explain_pairs, explainer_of
from specrec.recommend.hubs import Nearness
from specrec.recommend.phrases import phrases
from specrec.recommend.profiles import profile_of, profiles_of
from specrec.recommend.traits import batch_of, stored_columns, traits_of
from specrec.settings import System
from specrec.starting import importing
from specrec.warehouse.artefacts import Artefact, ArtefactStore
from specrec.warehouse.reader import Reader

Rows = list[dict[str, Any]]

_TITLES = ("track_name", "track_genre")


@dataclass(frozen=True)
class Song:
    """What a song sounds like.

    Attributes
    ----------
    analysis : Analysis
        What the job measures of a file.
    heard : mapping of str to Heard
        By name, what the models that hear the audio itself make of it.
    """

    analysis: Analysis
    heard: Mapping[str, Heard]


@dataclass(frozen=True)
class Answer:
    """What was found for a song.

    Attributes
    ----------
    recommendations : Rows
        The columns of ``recommendations`` from ``rank`` to ``recommended_seconds``.
    tracks : dict
        By track_id, the catalogue's columns of the tracks in it.
    """

    recommendations: Rows
    tracks: dict[str, dict[str, Any]]


class Catalogue:
    """The catalogue of a warehouse, as one system sees it.

    Parameters
    ----------
    reader : Reader
        Its tables.
    config : Config
        What the night ran with; `recommend` may differ, but for the length of excerpts.
    system : str
        Whose space is searched.

    Attributes
    ----------
    hearing_models : list of Model
        The models that must hear a song's audio itself.

    Raises
    ------
    SpecrecError
        If a table is missing or cannot be read, or was made with another configuration.
    """

    def __init__(self, reader: Reader, config: Config, system: System) -> None:
        self._reader, self._config, self._system = reader, config, system
        with importing():
            self._spaces = needed_for(system, config)
            artefacts = _artefacts(reader, config, self._spaces)
            models = {name: load_model(name, config) for name in models_for(system, config)}
            _warm_up(config)
        self.hearing_models = [model for model in models.values() if model.mel is not None]
        self._made_by: dict[str, Maker] = {**artefacts, **models}
        self._explainer = explainer_of(config, artefacts[statistics_artefact(config).name])
        self._profile = profile_of(self._explainer, [system])

    def answer(self, songs: Mapping[str, Song], top: int) -> dict[str, Answer | TrackError]:
        """Return each song's list, explained, or why it has none.

        Parameters
        ----------
        songs : mapping of str to Song
            By name, each heard by all `hearing_models`.
        top : int
            Length of a list, at most.
        """
        system = self._system
        measured = _measured({name: song.analysis for name, song in songs.items()})
        heard = {of.name: [song.heard[of.name] for song in songs.values()] for of in self.hearing_models}
        vectors = self._embed(measured, heard)
        profiles = self._own_profiles(measured, vectors)
        queries = np.stack(vectors[system]["vector"].to_list())
        good = has_direction(queries)
        # a song that is in the catalogue finds itself, and then as many as the night looked for
        wanted = max(self._config.neighbours.top_n, top) + 1
        answers: dict[str, Answer | TrackError] = {
            name: TrackError("no_direction", f"{name}: its vector is zero, and so like no other")
            for name in measured["track_id"][~good]
        }
        if good.any():
            batches = self._reader.batches("embeddings", ["track_id", "vector"], ("space", system))
            found = nearest(queries[good], batches, wanted)
            for number, song in enumerate(np.flatnonzero(good)):
                of_song = found.of(number)
                of_song = of_song if itself(of_song) else of_song[: wanted - 1]
                answers[measured["track_id"][song]] = self._list(
                    of_song, profiles.loc[[measured["track_id"][song]]], top
                )
        return answers

    def _embed(self, measured: pd.DataFrame, heard: Mapping[str, Sequence[Heard]]) -> dict[System, pd.DataFrame]:
        """Return the vectors of songs in the spaces that the system's lists need, as rows of ``embeddings``.

        Parameters
        ----------
        measured : DataFrame
            Columns of ``audio_features`` and ``mel_spectrograms``, one row a song.
        heard : dict
            By name, what those models that hear the audio itself made of the same songs.
        """
        found: dict[System, pd.DataFrame] = {}
        for name, space in self._spaces.items():
            rows = measured
            if space.source == "audio":
                rows = measured[["track_id"]].assign(heard=list(heard[name]))
            elif space.made_from:
                others = {part: found[part]["vector"] for part in space.made_from}
                rows = measured[["track_id"]].assign(**others, **UNHEARD)
            found[name] = pd.concat(space.embed(rows, self._made_by)).loc[measured.index]
        return found

    def _own_profiles(self, measured: pd.DataFrame, vectors: Mapping[System, pd.DataFrame]) -> pd.DataFrame:
        """Return what explanations need of the songs themselves; what the catalogue says of them comes later."""
        of_spaces = pd.concat([rows.assign(space=space) for space, rows in vectors.items()], ignore_index=True)
        tables = {
            "audio_features": measured,
            "embeddings": _with_names_of_tags(of_spaces),
            "tracks": measured[["track_id"]].assign(**dict.fromkeys(ATTRIBUTES)),
        }
        return profiles_of(tables, self._profile)

    def _list(self, nearest: list[tuple[str, float]], song: pd.DataFrame, top: int) -> Answer:
        system = self._system
        config = self._config.recommend.model_copy(update={"top_n": top})
        ids = [track_id for track_id, _ in nearest]
        columns = list(dict.fromkeys(["track_id", *stored_columns(config), *_TITLES, *ATTRIBUTES]))
        tracks = {row["track_id"]: row for row in self._of("tracks", ids, columns)}
        chosen = choose_list(nearest, self._known(ids, tracks), system, config)
        head, listed = itself(nearest), list(chosen["recommended_track_id"])
        profiles = self._profiles([*listed, *([head] if head else [])], tracks)
        chosen = chosen[chosen["recommended_track_id"].isin(profiles.index)]
        if chosen.empty:
            return Answer([], {})
        # what the catalogue says of a song, it says of its track
        about = tracks.get(head, {}) if head else {}
        song = song.assign(**{f"catalogue_{name}": about.get(name) for name in ATTRIBUTES})
        pairs = pd.concat(
            [
                chosen.reset_index(drop=True),
                song.loc[song.index.repeat(len(chosen))].add_prefix("a_").reset_index(drop=True),
                profiles.loc[chosen["recommended_track_id"]].add_prefix("b_").reset_index(drop=True),
            ],
            axis=1,
        ).assign(track_id="")
        explained = explain_pairs(pairs, system, self._explainer, self._config).drop(columns=["system", "track_id"])
        rows: Rows = explained.astype(object).where(explained.notna(), None).to_dict("records")
        return Answer(rows, {track_id: tracks[track_id] for track_id in listed})

    def _known(self, ids: list[str], tracks: Mapping[str, dict[str, Any]]) -> Known:
        near: dict[str, list[tuple[str, float]]] = {}
        kept: dict[str, Nearness] = {}
        if self._config.recommend.hubs != "off" and self._reader.has("list_inputs"):
            for row in self._of("list_inputs", ids, ["track_id", "mean", "std"], [("system", "=", self._system)]):
                mean, std = (np.array(np.nan if row[name] is None else row[name]) for name in ("mean", "std"))
                kept[row["track_id"]] = Nearness(mean, std)
        unknown = [track_id for track_id in ids if track_id not in kept]
        if unknown and self._config.recommend.hubs != "off":  # of lists that an older release made
            columns = ["track_id", "neighbour_id", "cosine"]
            for row in self._of("neighbours", unknown, columns, [("space", "=", self._system)]):
                near.setdefault(row["track_id"], []).append((row["neighbour_id"], row["cosine"]))
        everyone = {*ids, *(other for of_track in near.values() for other, _ in of_track)}
        groups = self._of("duplicates", everyone, ["track_id", "group_id"])
        return Known(
            traits=traits_of(batch_of(tracks.values()), self._config.recommend),
            near=near,
            groups={row["track_id"]: row["group_id"] for row in groups},
            kept=kept,
        )

    def _profiles(self, ids: list[str], tracks: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
        """Return what explanations need of tracks, by track_id.

        Raises
        ------
        SpecrecError
            If none of their vectors was made as this configuration and its artefacts would make it.
        """
        features = self._of("audio_features", ids, list(dict.fromkeys([*OF_FEATURES, *COLUMNS])))
        columns = {column for of in self._profile if of.table == "embeddings" for column in of.columns.values()}
        stored = {column.partition(".")[0] for column in columns} - {"parts"}
        vectors = self._of("embeddings", ids, [*OF_VECTORS, *sorted(stored)])
        if not features or not vectors:
            return pd.DataFrame()
        tables = {
            "audio_features": pd.DataFrame(features),
            "embeddings": _with_names_of_tags(pd.DataFrame(vectors)).assign(parts=None),
            "tracks": pd.DataFrame(list(tracks.values()), columns=["track_id", *ATTRIBUTES]),
        }
        check_vectors(self._spaces, self._made_by, tables["audio_features"], tables["embeddings"])
        return profiles_of(tables, self._profile)

    def _of(
        self, table: str, ids: Any, columns: list[str], conditions: list[tuple[str, str, Any]] | None = None
    ) -> Rows:
        """Return the rows of some tracks."""
        return self._reader.rows(table, [*(conditions or []), ("track_id", "in", sorted(set(ids)))], columns)


def _warm_up(config: Config) -> None:
    """Import and read what the first answer would, while another process still analyses the song."""
    band_centres(config.audio, config.audio.sample_rate or 44_100)
    phrases()
    if config.recommend.hubs == "mutual_proximity":
        import scipy.special  # noqa: F401, PLC0415


def _artefacts(reader: Reader, config: Config, spaces: Mapping[System, Space]) -> dict[str, Artefact]:
    """Return the artefacts in use, by name.

    Raises
    ------
    SpecrecError
        If one is missing: the warehouse is empty, or was made with another configuration.
    """
    store, found = ArtefactStore(reader), {}
    made_with = [space.artefact for space in spaces.values() if space.artefact is not None]
    for of in (*made_with, statistics_artefact(config)):
        artefact = store.find(of)
        if artefact is None:
            raise SpecrecError(_missing(reader, config, of.name))
        found[of.name] = artefact
    return found


def _missing(reader: Reader, config: Config, name: str) -> str:
    """Return why there is no artefact."""
    batches = reader.batches("audio_features", ["audio_hash"])
    hashes = {value for batch in batches for value in batch.column("audio_hash").unique().to_pylist()}
    if not hashes:
        return "the warehouse holds no track: run `specrec nightly` first"
    settings = "fit and embedding" if hashes & {*config.audio_hash.accepted} else "audio"
    return (
        f"the tables were made with other settings of {settings} (there is no {name} of these): give the "
        "configuration that the night ran with, by --config or --set"
    )


def _with_names_of_tags(vectors: pd.DataFrame) -> pd.DataFrame:
    """Return rows of ``embeddings`` with a column ``tags.name``: the names of the tags, or None."""
    tags = vectors["tags"].to_list() if "tags" in vectors else [None] * len(vectors)
    # pandas makes NaN of None where a column has nothing else
    names = [[tag["name"] for tag in of] if isinstance(of, list) else None for of in tags]
    return vectors.assign(**{"tags.name": pd.Series(names, vectors.index, object)})


def _measured(songs: Mapping[str, Analysis]) -> pd.DataFrame:
    """Return analyses as rows of ``audio_features`` and ``mel_spectrograms``."""
    rows = [
        {
            "track_id": name,
            "sample_rate": song.sample_rate,
            "mel": song.mel,
            "n_mels": song.n_mels,
            "n_frames": song.n_frames,
            **{of: np.float32(value) if isinstance(value, float) else value for of, value in song.values.items()},
        }
        for name, song in songs.items()
    ]
    return pd.DataFrame(rows)
