"""Lists for simulated listeners on real clips, by how much is known: make bench-simulated-listeners MUSIC=FOLDER.

FOLDER holds `emotify` and `games`, as ../shared/music does. The clips go through the whole job; the listeners are
**simulated**, and what is measured is whether the job finds tastes that are known, not what people like.

A person is drawn to a track by its kind (the genre; of games, the soundtrack), by its artist, by how it sounds (the
direction of a line through five measures: tempo, loudness, brightness, flatness and changes of sign), by how much
real listeners liked it (`listener_feedback.csv`; where nobody did, by the lot of another), and by chance. Whom a
track draws more than a bound likes it; the bounds are such that as large a share of all is liked, and disliked, as
in `listener_feedback.csv`. Of each person k tracks are known, k = 0, 1, 3, 10 or 30, drawn by how popular tracks
are and how much they draw the person; what is done with them is a like, a dislike, a rating, a play, a skip or a
save, and one in ten is done by mistake. Nobody ever did anything with a tenth of the tracks: the cold ones.

Relevant is what a person likes and is not known to have heard. Lists are those of `user_recommendations`, with ten
tracks, a share of which is for new ones, and no limits for artists and albums, which would count against all that
is personal; who has no events gets the list of nobody in particular. Beside the job's systems there are lists by
chance, and the tracks with the most known likes (`most liked`), which is what is mostly called popularity.

The same tracks' lists are measured with and without the listeners' space in `hybrid`: whether they hold more of the
track's genre. Tastes go by genre here, so that listeners tell of it by construction.

Intervals are of 95 %, bootstrapped over people (or tracks), those of differences paired.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import results
from listeners import FIRST, RELEVANT, Sums, interval, measured, top
from measured import measure_night
from nights import LIGHT_SPARK

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.config import load
from specrec.evaluate.intervals import Bootstrap
from specrec.evaluate.metrics import METRICS, SystemLists
from specrec.evaluate.ranking import Facts, as_lists
from specrec.listeners.config import COMPONENTS, NOBODY
from specrec.warehouse.reader import Reader

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECTIONS = ("emotify", "games")
KNOWN_EVENTS = (0, 1, 3, 10, 30)
SOUND = ("tempo", "rms_mean", "spectral_centroid_mean", "spectral_flatness_mean", "zero_crossing_rate_mean")
SOUND_STAGES = ("ingest", "extract", "fit", "embed", "neighbours", "duplicates", "recommend")
PEOPLE_STAGES, JOINED_STAGES = ("listen", "factors", "people"), ("embed", "neighbours", "recommend")
SYSTEMS = ("hybrid", *COMPONENTS)
#: What `hybrid` is not to be below.
ALONE = ("content", "als")
WIDTH = 50  # of tracks' lists, so that ten are left without those of the track's own artist

#: How much a person is drawn to the favourite kind, the second and the one not stood, and to favourite artists.
_KINDS, _FAVOURITE_ARTISTS, _OF_ARTIST = (1.0, 0.6, -0.8), 5, 0.8
_OF_SOUND, _OF_ALL, _OF_CHANCE = 0.5, 0.3, 0.4
_COLD_SHARE, _BY_MISTAKE = 0.1, 0.1


# --- the clips -------------------------------------------------------------------------------------------------


def write_catalogue(music: Path, folder: Path, count: int) -> Path:
    """Write a catalogue of clips, all or so many at even distances, beside links to their files."""
    rows: list[dict[str, str]] = []
    for name in COLLECTIONS:
        (folder / name).mkdir(parents=True)
        with (music / name / "tracks.csv").open(encoding="utf-8", newline="") as file:
            rows += [row | {"audio": f"{name}/{row['audio']}"} for row in csv.DictReader(file)]
    places = np.linspace(0, len(rows), min(count, len(rows)) if count else len(rows), endpoint=False).astype(int)
    chosen = [rows[place] for place in places]
    for row in chosen:
        os.symlink((music / row["audio"]).resolve(), folder / row["audio"])
    columns = list(dict.fromkeys(name for row in chosen for name in row))
    catalogue = folder / "tracks.csv"
    with catalogue.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(chosen)
    return catalogue


def settings_of(folder: Path, *more: str) -> tuple[str, ...]:
    return (
        f"warehouse={folder / 'warehouse'}",
        f"catalogue.path={folder / 'music' / 'tracks.csv'}",
        "storage.follow_links_out=true",
        "audio.clip_seconds=15",
        f"neighbours.top_n={2 * WIDTH}",
        f"recommend.top_n={WIDTH}",
        "recommend.max_per_artist=null",
        "recommend.max_per_album=null",
        "log.level=warning",
        *LIGHT_SPARK,
        *more,
    )


def reader_of(folder: Path) -> Reader:
    config = load(None, settings_of(folder))
    return Reader(config.warehouse, config.storage)


# --- the simulated listeners -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Simulated people and what they think of all tracks.

    Attributes
    ----------
    tracks : list of str
        Their ids, sorted.
    drawn : float64, shape (people, tracks)
        How much each person is drawn to each track.
    liked, disliked : bool, shape (people, tracks)
    cold : bool, shape (tracks,)
        The tracks that nobody did anything with.
    known_events : int64, shape (people,)
        How much is known of each person.
    known : bool, shape (people, tracks)
    """

    tracks: list[str]
    drawn: Float64Array
    liked: BoolArray
    disliked: BoolArray
    cold: BoolArray
    known_events: Int64Array
    known: BoolArray

    @property
    def names(self) -> list[str]:
        return [f"simulated-{number:05d}" for number in range(len(self.drawn))]


def simulate(reader: Reader, music: Path, a_level: int, seed: int) -> World:
    """Simulate people, as many of each level of what is known."""
    rng = np.random.default_rng(seed)
    names = ["track_id", "artists", "album_name", "track_genre"]
    tracks = pd.DataFrame(reader.rows("tracks", columns=names), columns=names)
    sounds = pd.DataFrame(reader.rows("audio_features", columns=["track_id", *SOUND])).dropna()
    tracks = tracks.merge(sounds, on="track_id").sort_values("track_id", ignore_index=True)
    feedback = pd.read_csv(music / "emotify" / "listener_feedback.csv")
    of_track = feedback.groupby("track_id")["liked"].mean().reindex(tracks["track_id"]).to_numpy()
    unheard = np.isnan(of_track)
    of_track[unheard] = rng.choice(of_track[~unheard], unheard.sum()) if not unheard.all() else 0.0
    people = a_level * len(KNOWN_EVENTS)
    drawn = _by_kind(rng, tracks["track_genre"].fillna(tracks["album_name"]), people)
    drawn += _by_artist(rng, tracks["artists"].fillna(tracks["album_name"]), people)
    direction = rng.normal(size=(people, len(SOUND)))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    drawn += _OF_SOUND * direction @ _standardised(tracks[list(SOUND)].rank().to_numpy()).T
    drawn += _OF_ALL * _standardised(of_track[:, None]).T
    drawn += _OF_CHANCE * rng.normal(size=drawn.shape)
    likes, dislikes = feedback["liked"].mean(), feedback["disliked"].mean()
    liked, disliked = drawn > np.quantile(drawn, 1 - likes), drawn < np.quantile(drawn, dislikes)
    cold = np.zeros(len(tracks), bool)
    cold[rng.choice(len(tracks), round(_COLD_SHARE * len(tracks)), replace=False)] = True
    chance = np.exp(rng.normal(size=len(tracks)) + 0.8 * drawn) * ~cold  # popular is what is come across
    known_events = np.tile(KNOWN_EVENTS, a_level)
    lot = np.log(np.where(chance > 0, chance, 1e-300)) + rng.gumbel(size=drawn.shape)  # without replacement
    known = np.argsort(np.argsort(-lot, axis=1), axis=1) < known_events[:, None]
    return World(tracks["track_id"].to_list(), drawn, liked, disliked, cold, known_events, known & ~cold)


def _by_kind(rng: np.random.Generator, kinds: pd.Series, people: int) -> Float64Array:
    number, names = pd.factorize(kinds)
    order = np.argsort(rng.random((people, len(names))), axis=1)
    drawn = np.zeros((people, len(names)))
    for place, value in zip((0, 1, -1), _KINDS, strict=True):
        drawn[np.arange(people), order[:, place]] = value
    return drawn[:, number]


def _by_artist(rng: np.random.Generator, artists: pd.Series, people: int) -> Float64Array:
    number, names = pd.factorize(artists)
    order = np.argsort(np.argsort(rng.random((people, len(names))), axis=1), axis=1)
    favoured: Float64Array = _OF_ARTIST * (order < _FAVOURITE_ARTISTS).astype(np.float64)
    return favoured[:, number]


def _standardised(values: Float64Array) -> Float64Array:
    spread = values.std(axis=0)
    standardised: Float64Array = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return standardised


def write_events(world: World, path: Path, seed: int) -> int:
    """Write what people did with what is known of them, as CSV; return how many events it is."""
    rng = np.random.default_rng((seed, 1))
    person, track = np.nonzero(world.known)
    opinion = np.where(world.liked[person, track], 1, np.where(world.disliked[person, track], -1, 0))
    mistaken = rng.random(len(person)) < _BY_MISTAKE
    opinion[mistaken] = rng.integers(-1, 2, mistaken.sum())
    order, names = rng.permutation(len(person)), world.names
    begins = datetime(2026, 3, 1, tzinfo=UTC)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("user_id", "track_id", "kind", "value", "ts"))
        for minute, place in enumerate(order):
            kind, value = _done(rng, opinion[place])
            at = begins + timedelta(minutes=int(minute))
            row = (names[person[place]], world.tracks[track[place]], kind, value, at.isoformat())
            table.writerow(row)
    return len(person)


def _done(rng: np.random.Generator, opinion: int) -> tuple[str, int | None]:
    """Return what a person does with a track, and the rating if it is one."""
    kinds = {
        1: (("play", "like", "rating", "save"), (0.4, 0.3, 0.2, 0.1), (4, 5)),
        0: (("play", "skip", "rating"), (0.6, 0.2, 0.2), (3, 3)),
        -1: (("skip", "dislike", "rating"), (0.6, 0.2, 0.2), (1, 2)),
    }
    names, chances, (least, most) = kinds[opinion]
    kind = str(rng.choice(names, p=chances))
    return kind, int(rng.integers(least, most + 1)) if kind == "rating" else None


# --- lists and what they are worth -----------------------------------------------------------------------------


def lists_of(reader: Reader, world: World) -> dict[str, Int64Array]:
    """Return each person's list by each system, shape (people, FIRST): places of tracks, -1 where it has ended."""
    rows = pd.DataFrame(reader.rows("user_recommendations", columns=["system", "user_id", "rank", "track_id"]))
    rows = rows[rows["rank"] <= FIRST]
    track, place = pd.Index(world.tracks).get_indexer(rows["track_id"]), rows["rank"].to_numpy() - 1
    person = pd.Index([*world.names, NOBODY]).get_indexer(rows["user_id"])
    found = {}
    for system in SYSTEMS:
        some = ((rows["system"] == system) & (person >= 0)).to_numpy()
        lists = np.full((len(world.drawn) + 1, FIRST), -1)
        lists[person[some], place[some]] = track[some]
        found[system] = np.where((world.known_events == 0)[:, None], lists[-1], lists[:-1])
    likes = (world.known & world.liked).sum(axis=0).astype(float)
    shape = world.drawn.shape
    by_chance = np.random.default_rng(0).random(shape)
    return found | {
        "most liked": top(np.broadcast_to(likes, shape), world.known, 0),
        "random": top(by_chance, world.known, 0),
    }


METRICS_OF_PEOPLE = ("precision", "ndcg", "cold_hits", "cold_recommended")


def values(lists: Int64Array, world: World) -> Float64Array:
    """Return what each person's list is worth, shape (metrics, people): see :data:`METRICS_OF_PEOPLE`.

    The last two are the shares of the ten that are cold tracks which the person likes, and cold tracks.
    """
    nothing = np.zeros((len(lists), 1), bool)  # the place -1
    relevant = np.concatenate([world.liked & ~world.known, nothing], axis=1)
    quality = measured(lists, np.where(relevant, float(RELEVANT), 0.0))
    is_cold = np.append(world.cold, False)[lists]
    hits = is_cold & np.take_along_axis(relevant, lists, axis=1)
    return np.concatenate([quality, [hits.mean(axis=1), is_cold.mean(axis=1)]])


def sums(of: Float64Array, some: BoolArray) -> Sums:
    """Return the values of some people, as what intervals are made of."""
    chosen = of[:, some & ~np.isnan(of).any(axis=0)]
    return Sums(chosen, np.ones(chosen.shape))


def figures(found: Mapping[str, Float64Array], some: BoolArray) -> dict[str, Any]:
    """Return each system's figures for some people, with intervals."""
    told: dict[str, Any] = {"people": int(some.sum())}
    for system, of in found.items():
        here = sums(of, some)
        ends = interval(here)
        told[system] = {
            name: {"value": here.mean[at], "interval": ends[:, at].tolist()}
            for at, name in enumerate(METRICS_OF_PEOPLE)
        }
    return told


def less(found: Mapping[str, Float64Array], one: str, other: str, some: BoolArray, metric: str) -> dict[str, Any]:
    """Return by how much one system is better than another for some people, and how many times as good."""
    at = METRICS_OF_PEOPLE.index(metric)
    a, b = sums(found[one], some), sums(found[other], some)
    ends = interval(a, b)[:, at]
    ratio = a.mean[at] / b.mean[at] if b.mean[at] else None
    return {
        "of": one,
        "than": other,
        "difference": a.mean[at] - b.mean[at],
        "interval": ends.tolist(),
        "ratio": ratio,
    }


def judge(found: Mapping[str, Float64Array], world: World) -> dict[str, Any]:
    """Return the figures that the issue asks for, and whether they are reached."""
    of: dict[str, Any] = {}
    for known in KNOWN_EVENTS:
        some = world.known_events == known
        for metric in ("ndcg", "precision"):
            best = max(ALONE, key=lambda system: sums(found[system], some).mean[METRICS_OF_PEOPLE.index(metric)])
            told = less(found, "hybrid", best, some, metric)
            of[f"{metric}_k{known}"] = told | {"reached": bool(told["interval"][1] >= 0)}
    cold_people, warm = world.known_events == 0, world.known_events > 0
    for base in ("most liked", "popularity"):
        told = less(found, "hybrid", base, warm, "cold_hits")
        times = told["ratio"] or np.inf  # of none
        of[f"cold_tracks_against_{base}"] = told | {"reached": bool(told["difference"] > 0 and times >= 5)}
        told = less(found, "hybrid", base, cold_people, "ndcg")
        of[f"cold_people_against_{base}"] = told | {"reached": bool(told["ratio"] and told["ratio"] >= 1.1)}
    share = {name: np.nansum(rows[2, warm]) / max(np.nansum(rows[3, warm]), 1e-12) for name, rows in found.items()}
    of["cold_tracks_liked_of_recommended"] = share | {"by chance": world.liked[warm][:, world.cold].mean()}
    return of


# --- what tracks sound alike -----------------------------------------------------------------------------------


def genre_precision(reader: Reader, system: str) -> pd.Series:
    """Return the share of each track's genre among the first ten of other artists, by track_id."""
    names = ["track_id", "artists", "album_name", "track_genre"]
    tracks = pd.DataFrame(reader.rows("tracks", columns=names), columns=names)
    facts = Facts(tracks.assign(song=None, liked=np.nan))
    asked = np.flatnonzero(facts.genre >= 0)
    rows = pd.DataFrame(
        reader.rows("recommendations", [("system", "=", system)], ["track_id", "rank", "recommended_track_id"]),
        columns=["track_id", "rank", "recommended_track_id"],
    ).rename(columns={"recommended_track_id": "listed"})
    of_lists = METRICS["genre_precision_at_10"].of_lists
    assert of_lists is not None
    lists = as_lists(facts, asked, rows, WIDTH)
    return pd.Series(of_lists.of_tracks(SystemLists(facts, asked, lists)).values, facts.ids[asked])


def compare(with_listeners: pd.Series, without: pd.Series) -> dict[str, Any]:
    """Return both precisions and their paired difference, with intervals."""
    bootstrap = Bootstrap(resamples=2_000)
    found = {"with": with_listeners, "without": without, "difference": with_listeners - without}
    return {name: _told(bootstrap, rows) for name, rows in found.items()}


def _told(bootstrap: Bootstrap, rows: pd.Series) -> dict[str, Any] | None:
    figure = bootstrap.mean(rows.to_numpy(np.float64))
    return None if figure is None else {"value": figure.value, "interval": [figure.low, figure.high], "n": figure.n}


# --- all of it -------------------------------------------------------------------------------------------------


def nights(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Any]]:
    """Run the nights and yield the figures, by their names."""
    kept: Path = args.kept or folder / "kept"
    if not (kept / "music" / "tracks.csv").exists():
        write_catalogue(args.music, kept / "music", args.clips)
    if not (kept / "done").exists():
        measure_night(settings_of(kept), SOUND_STAGES)
        (kept / "done").touch()
    shutil.copytree(kept, folder / "people", symlinks=True)
    place = folder / "people"
    reader = reader_of(place)
    world = simulate(reader, args.music, args.people, args.seed)
    (place / "events").mkdir()
    events = write_events(world, place / "events" / "simulated.csv", args.seed)
    yield (
        "world",
        {
            "clips": len(world.tracks),
            "people": len(world.drawn),
            "events": events,
            "cold_tracks": int(world.cold.sum()),
            "liked": world.liked.mean(),
            "disliked": world.disliked.mean(),
            "seed": args.seed,
        },
    )
    more = (f"listeners.events={place / 'events'}", f"listeners.systems={json.dumps(SYSTEMS)}")
    more = (*more, f"listeners.top_n={FIRST}", *args.set)
    done = measure_night(settings_of(place, *more), PEOPLE_STAGES)
    yield "people_night", {name: row["details"] for name, row in done.stages.items()}
    found = {system: values(lists, world) for system, lists in lists_of(reader, world).items()}
    for known in KNOWN_EVENTS:
        yield f"k{known}", figures(found, world.known_events == known)
    yield "judged", judge(found, world)
    without = genre_precision(reader, "hybrid")
    for weight in args.weight:
        shares = {"features": 0.6, "spectrogram": 0.4, "listeners": weight}
        joined = (*more, f"embedding.hybrid_weights={json.dumps(shares)}")
        measure_night(settings_of(place, *joined), JOINED_STAGES)
        yield f"genre_with_weight_{weight:g}", compare(genre_precision(reader, "hybrid"), without)
    if args.weight:
        yield "genre_by_listeners_alone", compare(genre_precision(reader, "listeners"), without)


def show(name: str, of: Any) -> None:
    if name[0] == "k" and name[1:].isdigit():
        for system, metrics in of.items():
            if isinstance(metrics, dict):
                cells = (
                    "{} {value:.3f} [{interval[0]:.3f} {interval[1]:.3f}]".format(key, **one)
                    for key, one in metrics.items()
                )
                print(f"{name:4}{system:14}", "  ".join(cells), flush=True)
    else:
        print(name, json.dumps(of, default=str), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", nargs="?", default=os.environ.get("SPECREC_MUSIC"), help="folder of the clips")
    parser.add_argument("--clips", type=int, default=0, help="so many of them, at even distances; 0: all")
    parser.add_argument("--people", type=int, default=400, help="of each number of known events")
    parser.add_argument(
        "--weight", type=float, action="append", help="of the listeners' space in `hybrid`, beside 0.6 and 0.4"
    )
    parser.add_argument("--kept", type=Path, help="folder that keeps the clips' night for the next measurement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="settings of people's nights")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "bench" / "simulated_listeners.json")
    args = parser.parse_args()
    if not args.music:
        parser.error("name the folder of the music, or set SPECREC_MUSIC")
    args.music, args.weight = Path(args.music), args.weight or [0.25, 1.0]
    report: dict[str, Any] = {"music": "emotify and games", "known_events": KNOWN_EVENTS}
    with tempfile.TemporaryDirectory() as folder:
        for name, of in nights(args, Path(folder)):
            show(name, of)
            report[name] = of
            results.write(report, args.out)


if __name__ == "__main__":
    main()
