"""What is computed of the inputs, step by step, and the version that says so.

Each step has inputs of its own, so that a change shows where it was made; only vectors and explanations are of what
comes from the step before.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import yaml
from onnx_models import write_model

from golden import inputs
from golden.digests import digest
from specrec.audio.analyse import analyse
from specrec.audio.config import ModelMelConfig
from specrec.audio.measures import columns
from specrec.audio.mel import decode_mel, encode_mel
from specrec.audio.model_mel import SCALINGS, measure
from specrec.config import Config, load
from specrec.duplicates import alignment
from specrec.duplicates.groups import connect
from specrec.duplicates.titles import clean_artists, clean_titles
from specrec.embedding import statistics
from specrec.embedding.config import LISTENERS
from specrec.embedding.listeners import (
    UNIT,
    exact_products,
    fit_artists,
    fit_prediction,
    for_artists,
    for_prediction,
    means_of_others,
)
from specrec.embedding.models import Model
from specrec.embedding.spaces import spaces_of
from specrec.embedding.spaces.listeners import ListenersSpace
from specrec.embedding.spaces.space import FittedSpace, Maker, Space
from specrec.map.fit import ATTRIBUTES as NAMED_ATTRIBUTES
from specrec.map.fit import BEFORE, fit_map
from specrec.map.tracks import placing
from specrec.neighbours import cells, kernel
from specrec.query.choose import Known, choose_list
from specrec.query.nearest import nearest
from specrec.recommend import agreement
from specrec.recommend.explain import explain_pairs, explainer_of
from specrec.recommend.phrases import phrases
from specrec.recommend.traits import batch_of, traits_of
from specrec.warehouse.artefacts import Artefact

#: What the configuration differs by from the defaults: few tracks, short songs, and a model of which all is known.
_SETTINGS = (
    "warehouse=nowhere",
    "catalogue.path=nowhere",
    "embedding.pca_components=8",
    "embedding.models={own: {path: own.onnx, patch_frames: 32}}",
    "embedding.hybrid_weights={features: 0.5, spectrogram: 0.3, own: 0.2}",
    "recommend.excerpt_seconds=1",
)
_TAGS = ["choir", "slow and sad", "piano", "vocals", "harp", "live", "drums", "calm", "guitar", "loud", "flute"]
_MODEL_MEL = ModelMelConfig(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=32, scaling="db")


@dataclass(frozen=True)
class Thing:
    """Something that is computed.

    Attributes
    ----------
    name : str
        What it is, in words.
    versions : tuple of str
        The constants that have it computed anew, by where they are; the first is its own.
    compute : callable
        Returns what it comes to, by part.
    made_of : tuple of str
        The names of those that it is computed of: if one of these changed, this one surely did.
    """

    name: str
    versions: tuple[str, ...]
    compute: Callable[[], dict[str, Any]]
    made_of: tuple[str, ...] = ()

    @property
    def now(self) -> dict[str, Any]:
        """What it comes to with this code, as a digest."""
        found: dict[str, Any] = digest(self.compute())
        return found


@functools.cache
def _config() -> Config:
    return load(None, _SETTINGS)


# --- audio --------------------------------------------------------------------------------------------------


@functools.cache
def _analyses() -> dict[str, Any]:
    return {name: analyse(content, _config().audio, name) for name, content in inputs.songs().items()}


def _features() -> dict[str, Any]:
    return {name: {"seconds": of.seconds, **of.values} for name, of in _analyses().items()}


def _mels() -> dict[str, Any]:
    return {name: decode_mel(of.mel, of.n_mels, of.n_frames) for name, of in _analyses().items()}


def _model_mels() -> dict[str, Any]:
    song = inputs.songs()["melody.wav"]
    kinds: dict[str, dict[str, Any]] = {name: {"scaling": name} for name in SCALINGS}
    kinds["htk"] = {"htk": True, "norm": None, "power": 1}
    return {
        name: measure(song, _config().audio, _MODEL_MEL.model_copy(update=kind)).mel for name, kind in kinds.items()
    }


# --- embedding ----------------------------------------------------------------------------------------------


@functools.cache
def _measured() -> pd.DataFrame:
    """Return the tracks' rows of ``audio_features`` and ``mel_spectrograms``."""
    mels = [inputs.mel(number, 80 + number) for number in range(inputs.TRACKS)]
    return pd.DataFrame(
        {
            "track_id": inputs.track_ids(),
            "sample_rate": inputs.RATE,
            "mel": [encode_mel(of) for of in mels],
            "n_mels": [len(of) for of in mels],
            "n_frames": [of.shape[1] for of in mels],
            **inputs.features(columns(_config().audio.n_mfcc)),
        }
    )


def _catalogue() -> dict[str, npt.NDArray[np.float64]]:
    return {name: inputs.attribute(name) for name in statistics.ATTRIBUTES}


@functools.cache
def _artefacts() -> dict[str, Artefact]:
    found = {}
    for space in spaces_of(_config()).values():
        if isinstance(space, FittedSpace):
            rows = pd.concat(space.summarise(iter([_measured()])), ignore_index=True)
            found[space.artefact.name] = Artefact(space.artefact.name, 1, space.fit(rows), len(rows))
    return found


@functools.cache
def _model() -> Model:
    bands = _config().audio.n_mels
    weights = inputs.bell("weights", bands, len(_TAGS)).astype(np.float32) / 2
    with tempfile.TemporaryDirectory() as folder:
        content = write_model(Path(folder) / "own.onnx", weights, tags=_TAGS).read_bytes()
    return Model("own", content, 32, None, tuple(_TAGS))


@functools.cache
def _embedded() -> dict[str, pd.DataFrame]:
    """Return the tracks' rows of ``embeddings``, by space."""
    known: dict[str, Maker] = {**_artefacts(), "own": _model()}
    found: dict[str, pd.DataFrame] = {}
    for name, space in spaces_of(_config()).items():
        found[name] = pd.concat(space.embed(_rows_for(space, found), known)).loc[_measured().index]
    return found


def _rows_for(space: Space, found: dict[str, pd.DataFrame]) -> pd.DataFrame:
    if space.source != "embeddings":
        return _measured()
    return _measured()[["track_id"]].assign(**{part: found[part]["vector"] for part in space.parts})


@functools.cache
def _statistics() -> Artefact:
    levels = np.stack(_embedded()["spectrogram"]["levels"].to_list()).astype(np.float64)
    has = [[tag["name"] for tag in tags] for tags in _embedded()["own"]["tags"]]
    shares = {("own", name): float(np.mean([name in tags for tags in has])) for name in _TAGS}
    arrays = statistics.fit_statistics(statistics.measure(_measured()), levels, _catalogue(), shares)
    return Artefact("catalogue_statistics", 1, arrays, inputs.TRACKS)


def _fitted() -> dict[str, Any]:
    return {of.name: of.arrays for of in (*_artefacts().values(), _statistics())}


def _vectors() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, rows in _embedded().items():
        found[name] = {
            column: np.stack(rows[column].to_list())
            for column in ("vector", "parts", "levels")
            if rows[column].notna().all()
        }
    excerpts = [np.frombuffer(of, np.int8) for of in _embedded()["spectrogram"]["excerpts"]]
    found["spectrogram"] |= {"excerpts": np.concatenate(excerpts), "lengths": [len(of) for of in excerpts]}
    found["own"]["tags"] = _embedded()["own"]["tags"].to_list()
    return found


# --- neighbours ---------------------------------------------------------------------------------------------


def _neighbours() -> dict[str, Any]:
    vectors = inputs.groups_of_vectors(90, 5, 12, spread=0.4)
    vectors[40] = 0  # near to nothing
    vectors[80:] = vectors[70:80]  # of equal ones the lesser id comes first
    ids = [f"t{number:02}" for number in range(len(vectors))]
    centroids = cells.train(vectors[kernel.has_direction(vectors)], 5, seed=0)
    centroids = centroids[np.lexsort(centroids.T)]
    home = kernel.nearest_cells(vectors, centroids, 1)[:, 0]
    order = np.lexsort((ids, home))
    order = order[kernel.has_direction(vectors[order])]
    items = kernel.Items(
        pa.array([ids[i] for i in order]), vectors[order], home[order], np.full(len(order), np.inf)
    )
    asked = np.arange(12)
    probes = kernel.nearest_cells(items.vectors[asked], centroids, 2)
    queries = kernel.Queries(
        items.vectors[asked],
        np.full(len(asked), -np.inf),
        asked,
        np.zeros(len(asked), np.bool_),
        np.repeat(asked, 2).astype(np.int32),
        probes.ravel().astype(np.int32),
    )
    found, _ = kernel.search(queries, items, 6)
    batch = pa.RecordBatch.from_pydict({"track_id": ids, "vector": pa.array(list(vectors), pa.list_(pa.float32()))})
    looked_up = nearest(vectors[:3] + np.float32(0.05), [batch], 6)
    return {
        "centroids": centroids,
        "cells": {str(tracks): cells.default_cells(tracks) for tracks in (10, 30_000, 1_000_000)},
        "lists": [
            {"of": items.ids[int(row)].as_py(), "neighbour": items.ids[int(column)].as_py()}
            for row, column in zip(found.rows, found.columns, strict=True)
        ],
        "cosines": found.cosines,
        "of a query": {"ids": looked_up.ids.to_pylist(), "cosines": looked_up.cosines},
    }


# --- duplicates ---------------------------------------------------------------------------------------------


def _duplicates() -> dict[str, Any]:
    rate, song = inputs.RATE / inputs.HOP, inputs.mel("song", 150)
    coded = np.maximum(song[:, 6:] + 1.5 * inputs.bell("codec", *song[:, 6:].shape), -60).astype(np.float32)
    loop = np.tile(inputs.mel("loop", 30), 5)
    pairs = {
        "itself": (song, song),
        "another codec and a later cut": (song, coded - coded.max()),
        "another voice at the end": (song, np.concatenate([song[:, :90], inputs.mel("voice", 60)], axis=1)),
        "another song": (song, inputs.mel("other", 150)),
        "a shorter clip": (song, song[:, :100]),
        "a loop": (loop, np.roll(loop, 7, axis=1)),
        "slow music": (song, np.repeat(inputs.mel("slow", 12), 14, axis=1)),
    }
    settings, found = _config().duplicates, {}
    for name, both in pairs.items():
        sketches = [alignment.sketch(of, rate) for of in both]
        lengths = [np.array([of.shape[1]]) for of in sketches]
        lags, alike = alignment.align(
            sketches[0][None], sketches[1][None], lengths[0], lengths[1], settings.min_overlap
        )
        again = [alignment.repetition(of, rate) for of in sketches]
        # as specrec.duplicates.spark.is_one_recording decides
        same = alike[0] >= settings.min_similarity and alike[0] >= max(again) + alignment.ABOVE_REPETITION
        found[name] = {
            "sketch": sketches[1],
            "lag": int(lags[0]),
            "similarity": float(alike[0]),
            "repetition": again,
            "same": bool(same),
        }
    titles = [
        "Song (feat. Guest) [2011 Remaster]", "Song – Remastered 2009", "Søng ft. Someone", "Song (Live)",
        "R&B: 'til", "The Song - Radio Edit", "노래 (Album Version)", "…", "Song, Pt. 2 (Explicit Version)",
    ]  # fmt: skip
    artists = ["The Beatles;Guest", "Beyoncé feat. Jay-Z", "AC/DC", "  the  Who ", "The The"]
    groups = connect(pd.DataFrame({"a": ["t3", "t2", "t5", "t9"], "b": ["t1", "t3", "t4", "t2"]}))
    return {
        "pairs": found,
        "titles": clean_titles(pd.Series(titles)).to_list(),
        "artists": clean_artists(pd.Series(artists)).to_list(),
        "groups": groups.to_numpy().tolist(),
        "margin": float(alignment.ABOVE_REPETITION),
    }


# --- lists --------------------------------------------------------------------------------------------------


def _lists() -> dict[str, Any]:
    ids = [f"t{number:02}" for number in range(30)]
    cosines = np.sort(0.4 + 0.55 * inputs.uniform("candidates", len(ids)))[::-1]
    near = {
        one: [(ids[(i + 1 + k) % len(ids)], float(of)) for k, of in enumerate(0.3 + 0.6 * inputs.uniform(one, 8))]
        for i, one in enumerate(ids)
    }
    rows = [
        {
            "track_id": one,
            "duration_ms": 90_000 + 20_000 * i,
            "explicit": i % 7 == 0,
            "artists": f"Artist {i % 5}; artist  {i % 3} ",
            "album_name": f" {'ALBUM' if i % 5 else 'Album'}  {i % 4} " if i % 7 else None,
            "extra": {"available_markets": "US, DE" if i % 5 else "US"},
        }
        for i, one in enumerate(ids)
    ]
    groups = {ids[i]: ids[i - i % 3] for i in range(0, 12)}
    settings = {
        "defaults": {},
        "no hubs": {"hubs": "off"},
        "local scaling": {"hubs": "local_scaling", "max_per_album": None},
        "filtered": {"explicit": False, "market": "DE", "min_duration_seconds": 150.0, "max_per_artist": 4},
        "of a track": {},
    }
    found = {}
    for name, of in settings.items():
        config = _config().recommend.model_copy(update=of)
        known = Known(traits_of(batch_of(rows), config), near, groups)
        candidates = list(zip(ids, cosines.tolist(), strict=True))
        if name == "of a track":
            candidates[0] = (ids[0], 1.0)
        chosen = choose_list(candidates, known, "features", config)
        found[name] = {"ids": chosen["recommended_track_id"].to_list()} | {
            column: chosen[column].to_numpy(np.float64) for column in ("score", "affinity")
        }
    found["traits"] = [
        [of["allowed"], of["artists"], [f"{both['album']};{both['artist']}" for both in of["albums"]]]
        for of in known.traits.slice(0, 8).to_pylist()
    ]
    first, second = np.array([[1, 2, 3, 4, 5, 6]] * 3), np.array([[2, 1, 9, 3, 6, 8], [1, 2, 3, 0, 0, 0], [7] * 6])
    lengths = np.array([6, 6, 6]), np.array([6, 3, 0])
    shared = agreement.in_both(first, second, lengths)
    found["agreement"] = {"overlap": agreement.rank_biased_overlap(shared, lengths)} | {
        "jaccard": agreement.jaccard(shared[:, -1], lengths)
    }
    return found


def _profiles() -> pd.DataFrame:
    """Return what explanations need of the tracks; see :func:`specrec.recommend.profiles.profile_of`."""
    of = _embedded()
    return _measured().assign(
        **{name: of["spectrogram"][name] for name in ("parts", "levels", "excerpts")},
        **{f"vector_{space}": rows["vector"] for space, rows in of.items()},
        **{f"catalogue_{name}": values for name, values in _catalogue().items()},
        tags_own=[[tag["name"] for tag in tags] for tags in of["own"]["tags"]],
    )


def _explanations() -> dict[str, Any]:
    explainer, profiles, found = explainer_of(_config(), _statistics()), _profiles(), {}
    for step, system in enumerate(_config().systems, start=1):
        a = np.arange(0, inputs.TRACKS, 2)
        vectors = np.stack(_embedded()[system]["vector"].to_list())
        alike = kernel.unit(vectors) @ kernel.unit(vectors).T - 2 * np.eye(inputs.TRACKS)
        b = np.where(a < inputs.TRACKS / 2, alike[a].argmax(axis=1), (a + 3 * step) % inputs.TRACKS)
        sides = [
            profiles.iloc[of].add_prefix(prefix).reset_index(drop=True) for of, prefix in ((a, "a_"), (b, "b_"))
        ]
        pairs = pd.concat(sides, axis=1).assign(
            system=system,
            track_id=profiles["track_id"].to_numpy()[a],
            recommended_track_id=profiles["track_id"].to_numpy()[b],
            rank=1,
            score=kernel.cosine(vectors[a], vectors[b]),
            affinity=0.5,
        )
        rows = explain_pairs(pairs, system, explainer, _config())
        reasons = [sorted(of, key=lambda reason: (reason["family"], reason["feature"])) for of in rows["reasons"]]
        found[system] = {
            "sentences": rows["explanation"].to_list(),
            "reasons": reasons[:2],
            "contributions": [[float(reason["contribution"]) for reason in of] for of in reasons[2:]],
            "statements": [reason["statement"] for of in reasons[2:5] for reason in of if reason["statement"]],
            "seconds": rows[["track_seconds", "recommended_seconds"]].to_numpy().ravel(),
        }
    return found | {"words": {name: words for name, words in phrases().items() if name != LISTENERS}}


# --- listeners ----------------------------------------------------------------------------------------------


def _listeners() -> dict[str, Any]:
    config, count = load(None, [*_SETTINGS, "listeners.events=nowhere"]), inputs.TRACKS
    space = spaces_of(config)[LISTENERS]
    assert isinstance(space, ListenersSpace)
    sound = np.stack(_embedded()["features"]["vector"].to_list())[:, :6].astype(np.float64)
    of_artists = inputs.groups_of_vectors(count, 8, 6, spread=0.2)
    factors = np.round(of_artists + sound / np.abs(sound).max(), 5)
    factors[::5] = np.nan  # nobody is known to like these
    artist = np.arange(count, dtype=np.int64) % 8
    means, others = means_of_others(factors, artist)
    rows = pd.DataFrame(
        {
            "track_id": inputs.track_ids(),
            "als": [None if np.isnan(of[0]) else of for of in factors],
            "artist_mean": [None if np.isnan(of[0]) else of for of in means],
            "artist_tracks": others,
            **{name: _embedded()[name]["vector"].to_numpy() for name in space.made_from},
        }
    )
    dimensions = [len(rows[name][0]) for name in space.made_from]
    tracks = space.tracks(rows, factors.shape[1], dimensions)
    artists = fit_artists(exact_products(for_artists(tracks)) * UNIT**2)
    arrays = fit_prediction(exact_products(for_prediction(tracks, artists)) * UNIT**2, artists)
    known = {
        space.artefact.name: Artefact(space.artefact.name, 1, arrays | {"dimensions": np.array(dimensions)}, 1)
    }
    found = pd.concat(space.embed(rows, known))
    vectors = {"vectors": np.stack(found["vector"].to_list()), "predicted": found["predicted"].to_list()}
    told = {name: arrays[name] for name in ("mean", "artist", "explained")}
    return vectors | told | {"words": phrases()[LISTENERS]}


# --- the map ------------------------------------------------------------------------------------------------


class _Asked:
    """Stands for UMAP and t-SNE: notes what is asked of them, since what they answer differs between machines."""

    def __init__(self, noted: list[dict[str, Any]], scale: float) -> None:
        self._noted, self._scale = noted, scale

    def __call__(self, **settings: Any) -> _Asked:
        self._noted.append(settings)
        return self

    def fit_transform(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return where it should have started."""
        start: npt.NDArray[np.float32] = self._noted[-1]["init"] * self._scale
        self._noted[-1]["vectors"] = vectors
        return start


def _map() -> dict[str, Any]:
    asked: dict[str, list[dict[str, Any]]] = {"umap": [], "tsne": []}
    umap, tsne = _Asked(asked["umap"], 1.0), _Asked(asked["tsne"], 1e4)
    sample, settings = _sample_of_map(), _config().map
    with mock.patch.dict("sys.modules", umap=mock.Mock(UMAP=umap)), mock.patch("sklearn.manifold.TSNE", tsne):
        first, _ = fit_map(sample, settings, with_tsne=True, seed=0)
        before = next(placing(first, settings.neighbours)(iter([sample.assign(input_hash="h")])))
        before = before.assign(pca_x=-before["pca_x"], umap_x=before["umap_y"], umap_y=before["umap_x"])
        before.loc[::4, list(BEFORE)] = None  # a quarter is new
        before.loc[7, "umap_x"] += 0.5  # a copy of the third that lay elsewhere
        again, _ = fit_map(
            sample.assign(**{f"old_{name}": before[name] for name in BEFORE}), settings, with_tsne=True, seed=0
        )
        drawn = next(placing(again, settings.neighbours)(iter([_new_tracks().assign(input_hash="h")])))
    maps = {}
    for name, arrays in (("first", first), ("again", again)):
        order = np.argsort(arrays["centroids"][:, 0])
        maps[name] = arrays | {of: arrays[of][order] for of in ("centroids", "numbers", "names")}
    placed = {name: drawn[name].to_list() for name in ("cluster", "cluster_name")} | {
        "distances": drawn["cluster_distance"].to_numpy(np.float64),
        "at": drawn[[name for name in BEFORE if name[-2:] in ("_x", "_y")]].to_numpy(np.float64),
    }
    words = yaml.safe_load((files("specrec.map") / "names.yaml").read_text(encoding="utf-8"))
    return {"maps": maps, "placed": placed, "asked": asked, "words": words}


def _sample_of_map() -> pd.DataFrame:
    count = 60
    many = pd.concat([_measured()] * 3, ignore_index=True).iloc[:count]
    named = {name: np.resize(inputs.attribute(name), count) for name in NAMED_ATTRIBUTES}
    named["energy"] = np.resize(np.linspace(0.1, 0.9, 5), count)  # what tells the five groups apart
    levels = inputs.bell("levels of a map", count, len(statistics.LEVELS)) * 5
    vectors = inputs.groups_of_vectors(count, 5, 16, spread=0.2)
    vectors[7] = vectors[2]
    return many[list(statistics.COLUMNS)].assign(
        track_id=[f"t{number:02}" for number in range(count)],
        vector=list(vectors),
        vector_key=np.arange(count) * 7 - 3,
        levels=list(levels),
        **named,
        **{f"old_{name}": None if name == "cluster_name" else np.nan for name in BEFORE},
    )


def _new_tracks() -> pd.DataFrame:
    """Return eight tracks that a map was fitted on, and six others near to some."""
    vectors = np.stack(_sample_of_map()["vector"].to_list())[:14]
    vectors[8:] += 0.05 * inputs.bell("new", *vectors[8:].shape).astype(np.float32)
    keys = np.where(np.arange(14) < 8, np.arange(14) * 7 - 3, -1_000 - np.arange(14))
    ids = [f"n{number:02}" for number in range(14)]
    return pd.DataFrame({"track_id": ids, "vector": list(vectors), "vector_key": keys})


_EXTRACTOR = "specrec.audio.config.EXTRACTOR_VERSION"
_EMBEDDING = "specrec.embedding.config.EMBEDDING_VERSION"
_NEIGHBOURS = "specrec.neighbours.config.NEIGHBOURS_VERSION"
_DUPLICATES = "specrec.duplicates.config.DUPLICATES_VERSION"
_RECOMMEND = "specrec.recommend.config.RECOMMEND_VERSION"
_LISTENERS = "specrec.listeners.config.LISTENERS_VERSION"
_MAP = "specrec.map.config.MAP_VERSION"

THINGS = (
    Thing("features", (_EXTRACTOR,), _features),
    Thing("mel spectrograms", (_EXTRACTOR,), _mels),
    Thing("mel spectrograms of models", (_EMBEDDING, _EXTRACTOR), _model_mels),
    Thing("artefacts", (_EMBEDDING, _EXTRACTOR), _fitted),
    Thing("vectors", (_EMBEDDING, _EXTRACTOR), _vectors, ("artefacts",)),
    Thing("neighbours", (_NEIGHBOURS, _EMBEDDING, _EXTRACTOR), _neighbours),
    Thing("duplicates", (_DUPLICATES, _EXTRACTOR), _duplicates),
    Thing("lists", (_RECOMMEND, _EMBEDDING, _EXTRACTOR), _lists),
    Thing("explanations", (_RECOMMEND, _EMBEDDING, _EXTRACTOR), _explanations, ("artefacts", "vectors")),
    Thing("the space of listeners", (_LISTENERS, _EMBEDDING, _EXTRACTOR), _listeners, ("vectors",)),
    Thing("map", (_MAP, _EMBEDDING, _EXTRACTOR), _map),
)
