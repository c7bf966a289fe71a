"""What lists for many people cost, on the first night and on one with a day's events: make bench-listeners-scale.

Events are drawn by lot: each person comes back to two of twelve styles, a session is twenty events of one person,
and some tracks are played a hundred times as often as others. Tracks, and one space of vectors by which content is
judged, are given (tests/given.py). The stages `listen`, `factors` and `people` run each in a process of its own, on
two cores and with a bounded driver; seconds are those of the table `runs`, and `wall` those of the process, the
start of Java included. The day's events are 1 % more, in a file of their own.

`score_ratio_vs_gemm` is of the one step that grows with people times tracks, in one process without Spark, on what
the first night fitted: all blocks of people meet all blocks of tracks, as a task of Spark's does it
(:func:`specrec.listeners.blocks.meet`), against the products of the same matrices alone (`numpy.matmul` into an
array that is there), with as many threads of BLAS.

Where the library `implicit` is installed (the group `bench`), its ALS and its lists for everybody are timed in the
same process, on the same preferences and two cores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from clips import cpu_model
from given import STYLES, GivenTrack, write_given
from measured import measure_night
from results import write
from scipy import sparse
from threadpoolctl import threadpool_limits
from vectors import write_embeddings

from specrec.arrays import Float32Array, Float64Array, Int64Array
from specrec.config import Config, load
from specrec.listeners.blocks import Model, meet, pack_people, pack_tracks
from specrec.listeners.config import OF_TRACKS
from specrec.listeners.crowd import Crowd
from specrec.listeners.spark import _PEOPLE_A_TARGET, _PEOPLE_AT_ONCE, _TRACKS_A_TARGET
from specrec.pipeline.blend import BLEND, model_of
from specrec.pipeline.factors import listeners_artefact
from specrec.pipeline.hashes import blend_hash
from specrec.pipeline.stages import OF_LISTENERS
from specrec.warehouse.artefacts import ArtefactId, ArtefactStore, unpack
from specrec.warehouse.reader import Reader

try:
    import implicit
except ImportError:  # `make bench-listeners-scale` installs it; without it the other figures stand
    implicit = None

REPOSITORY = Path(__file__).resolve().parents[2]
CORES = 2
LENGTH_MS, SESSION, FIRST_DAY, DAYS = 200_000, 20, datetime(2026, 1, 1, tzinfo=UTC), 60
_EVENTS_AT_ONCE = 1_000_000
_DAY_US = 86_400_000_000


# --- what is given ---------------------------------------------------------------------------------------------


def write_events(path: Path, count: int, people: int, tracks: int, *, days: tuple[int, int], seed: int) -> None:
    """Write events of sessions that begin between two days, as one Parquet file."""
    rng = np.random.default_rng(seed)
    names = pa.array([f"person-{number:07d}" for number in range(people)])
    of_tracks = pa.array([GivenTrack.of(number).track_id for number in range(tracks)])
    writer = None
    for start in range(0, count, _EVENTS_AT_ONCE):
        some = min(_EVENTS_AT_ONCE, count - start)
        table = _sessions(rng, some, start // SESSION, days, people=names, tracks=of_tracks)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _sessions(
    rng: np.random.Generator, count: int, before: int, days: tuple[int, int], *, people: pa.Array, tracks: pa.Array
) -> pa.Table:
    sessions = -(-count // SESSION)
    number = before + np.arange(sessions)
    # in the first sessions everybody comes once, in the others some come often
    often = (len(people) * rng.random(sessions) ** 1.5).astype(np.int64)
    person = np.where((number < len(people)) & (days[0] == 0), number % len(people), often)
    begins = FIRST_DAY.timestamp() * 1e6 + rng.uniform(*days, sessions) * _DAY_US
    of, place = np.repeat(np.arange(sessions), SESSION)[:count], np.tile(np.arange(SESSION), sessions)[:count]
    who = person[of]
    lot = rng.random(count)
    favourite, second = who % STYLES, (who * 7 + 3) % STYLES
    style = np.where(lot < 0.6, favourite, np.where(lot < 0.85, second, rng.integers(0, STYLES, count)))
    a_style = max(len(tracks) // STYLES, 1)
    track = np.minimum((a_style * rng.random(count) ** 2.5).astype(np.int64) * STYLES + style, len(tracks) - 1)
    likes = (style == favourite) | ((style == second) & (rng.random(count) < 0.7))
    kind = rng.random(count)
    is_play, is_rating = kind < 0.8, (kind >= 0.95) & (kind < 0.98)
    opinion = np.where(likes, "like", "dislike")
    kinds = np.select([is_play, kind < 0.9, kind < 0.95, is_rating], ["play", "skip", opinion, "rating"], "save")
    share = np.where(likes, rng.uniform(0.5, 1, count), rng.uniform(0, 1, count))
    share = np.where(kinds == "skip", rng.uniform(0, 0.2, count), share)
    rating = np.where(likes, rng.integers(4, 6, count), rng.integers(1, 4, count)).astype(float)
    when = (begins[of] + place * (LENGTH_MS + 2_000) * 1_000).astype(np.int64)
    return pa.table(
        {
            "user_id": people.take(pa.array(who)),
            "track_id": tracks.take(pa.array(track)),
            "kind": pa.array(kinds),
            "value": pa.array(rating, mask=~is_rating),
            "listened_ms": pa.array((share * LENGTH_MS).astype(np.int64), mask=kind >= 0.9),
            "ts": pa.array(when, pa.timestamp("us", tz="UTC")),
            "session_id": pc.cast(pa.array(before + of), pa.string()),
        }
    )


def write_tracks(warehouse: Path, count: int, dimensions: int, config: Config) -> None:
    """Write the table of tracks, and a vector of each in the space that content is judged by."""
    tracks = [GivenTrack.of(number).changed(duration_ms=LENGTH_MS) for number in range(count)]
    write_given(warehouse, tracks, config, ("tracks",))
    rng = np.random.default_rng(0)
    styles = rng.normal(size=(STYLES, dimensions))
    vectors = styles[np.arange(count) % STYLES] + rng.normal(size=(count, dimensions))
    ids = [track.track_id for track in tracks]
    write_embeddings(warehouse, config.listeners.space, ids, vectors.astype(np.float32))


# --- nights ----------------------------------------------------------------------------------------------------


def night(settings: Sequence[str]) -> dict[str, Any]:
    """Run the stages of listeners, each in a process of its own; return what they cost."""
    stages: dict[str, Any] = {}
    for name in OF_LISTENERS:
        done = measure_night(settings, [name])
        row = done.stages[name]
        stages[name] = {
            "seconds": round(row["seconds"], 2),
            "wall": round(done.wall, 2),
            "peak_process_gib": round(done.peak_gib, 2),
            "status": row["status"],
            "details": row["details"],
        }
        print(name, {key: value for key, value in stages[name].items() if key != "details"}, flush=True)
    return {
        "seconds": round(sum(of["seconds"] for of in stages.values()), 2),
        "wall": round(sum(of["wall"] for of in stages.values()), 2),
        "peak_process_gib": max(of["peak_process_gib"] for of in stages.values()),
        "stages": stages,
    }


# --- the scoring step ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """What the first night fitted and knows, as blocks that meet; of tracks the code is the place of their ids.

    Attributes
    ----------
    model : Model
    tracks : list of Table
        One row each.
    matrices : list of float32, shape (tracks, dimensions)
        The dense vectors of each block of tracks.
    """

    model: Model
    tracks: list[pa.Table]
    matrices: list[Float32Array]


def packed_tracks(reader: Reader, model: Model, ids: pa.Array, factors: pa.Array, content: pa.Array) -> Packed:
    listeners = reader.arrow("track_listeners").sort_by("track_id")
    assert listeners.column("track_id").combine_chunks().equals(ids)
    number = np.arange(len(ids))
    none = pa.ListArray.from_arrays(pa.array(np.zeros(len(ids) + 1), pa.int32()), pa.array([], pa.int64()))
    artist = pa.ListArray.from_arrays(pa.array(np.arange(len(ids) + 1), pa.int32()), pa.array(number // 3))
    blocks = -(-len(ids) // _TRACKS_A_TARGET)
    table = pa.table(
        {
            "block": pa.array(number % blocks, pa.int32()),
            "track_id": ids,
            "code": number,
            "als": factors,
            "content": content,
            **{name: listeners.column(name) for name in OF_TRACKS},
            "is_new": pc.less(listeners.column("listeners"), 3),
            "similar": _similar(reader, ids),
            "duplicate": np.zeros(len(ids), np.int64),
            "artists": artist,
            "albums": none,
        }
    )
    parts = [table.filter(pa.array(number % blocks == block)) for block in range(blocks)]
    packed = [pack_tracks(part, model) for part in parts]
    arrays = [unpack(row.column("payload")[0].as_py()) for row in packed]
    dense = ("als", "content", *OF_TRACKS)
    matrices = [np.concatenate([of[name] for name in dense], axis=1, dtype=np.float32) for of in arrays]
    return Packed(model, packed, matrices)


def _similar(reader: Reader, ids: pa.Array) -> pa.Array:
    rows = reader.arrow("also_liked", columns=["track_id", "other_id", "similarity", "both", "liked"])
    track, other = (pc.index_in(rows.column(name).combine_chunks(), ids) for name in ("track_id", "other_id"))
    track, other = track.to_numpy(zero_copy_only=False), other.to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.lexsort((other, track))
    values = [pa.array(other[order])]
    values += [rows.column(name).combine_chunks().take(pa.array(order)) for name in ("similarity", "both", "liked")]
    entries = pa.StructArray.from_arrays(values, ["code", "similarity", "both", "liked"])
    ends = np.searchsorted(track[order], np.arange(len(ids) + 1))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), entries)


def targets(
    preferences: pa.Table, ids: pa.Array, factors: pa.Array, content: pa.Array, packed: tuple[Model, Crowd]
) -> Iterator[pa.Table]:
    """Yield so many packed blocks of people as one task of Spark's scores."""
    user = preferences.column("user_id").combine_chunks().dictionary_encode()
    person = user.indices.to_numpy(zero_copy_only=False)  # as rows are sorted, so are these
    code = pc.index_in(preferences.column("track_id").combine_chunks(), ids)
    evidence = pc.multiply(preferences.column("preference"), preferences.column("confidence"))
    for start in range(0, len(user.dictionary), _PEOPLE_A_TARGET):
        rows = []
        for block in range(start, min(start + _PEOPLE_A_TARGET, len(user.dictionary)), _PEOPLE_AT_ONCE):
            some = slice(*np.searchsorted(person, [block, block + _PEOPLE_AT_ONCE]))
            at, length = code[some], some.stop - some.start
            known = {
                "block": pa.repeat(pa.scalar(block // _PEOPLE_AT_ONCE, pa.int32()), length),
                "user_id": preferences.column("user_id").slice(some.start, length),
                "code": at.cast(pa.int64()),
                "evidence": evidence.slice(some.start, length),
                "als": factors.take(at),
                "content": content.take(at),
                "duplicate": pa.repeat(pa.scalar(0, pa.int64()), length),
            }
            rows.append(pack_people(pa.table(known), *packed))
        yield pa.concat_tables(rows)


def score(config: Config, threads: int) -> dict[str, Any]:
    """Time the scoring step for all people, and the bare products of the same matrices."""
    reader = Reader(config.warehouse, config.storage)
    artefacts = ArtefactStore(reader)
    fitted = artefacts.need(listeners_artefact(config))
    weights: Float64Array = artefacts.need(ArtefactId(BLEND, blend_hash(config))).arrays["weights"]
    listeners = reader.arrow("track_listeners", columns=["track_id", "als"]).sort_by("track_id")
    vectors = reader.arrow("embeddings", [("space", "=", config.listeners.space)], ["track_id", "vector"])
    vectors = vectors.sort_by("track_id")
    ids = listeners.column("track_id").combine_chunks()
    factors, content = listeners.column("als").combine_chunks(), vectors.column("vector").combine_chunks()
    dimensions = len(content[0])
    model = model_of(config, fitted.arrays["gram"], {"hybrid": weights}, dimensions)
    packed = packed_tracks(reader, model, ids, factors, content)
    likes = reader.arrow("crowd", columns=["user_id", "track_id"])
    code = pc.index_in(likes.column("track_id").combine_chunks(), ids).cast(pa.int64())
    crowd = Crowd.of(pa.table({"user_id": likes.column("user_id"), "code": code}), config.listeners)
    preferences = reader.arrow("preferences", columns=["user_id", "track_id", "preference", "confidence"])
    preferences = preferences.sort_by([("user_id", "ascending"), ("track_id", "ascending")])
    out = np.empty((_PEOPLE_AT_ONCE, max(len(of) for of in packed.matrices)), np.float32)
    seconds = dict.fromkeys(("people packed", "met", "products"), 0.0)
    pairs = people = 0
    with threadpool_limits(threads, "blas"):
        began = time.perf_counter()
        for blocks in targets(preferences, ids, factors, content, (model, crowd)):
            seconds["people packed"] += time.perf_counter() - began
            people += sum(len(row) for row in blocks.column("ids").combine_chunks())
            for of_tracks in packed.tracks:
                began = time.perf_counter()
                pairs += sum(found.num_rows for found in meet(of_tracks, blocks, model, config.listeners))
                seconds["met"] += time.perf_counter() - began
            seconds["products"] += _products(blocks, packed, out)
            began = time.perf_counter()
    return {
        "people": people,
        "tracks": len(ids),
        "dimensions": int(packed.matrices[0].shape[1]),
        "blas_threads": threads,
        "candidates": pairs,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "gflops_of_products": round(
            2e-9 * people * len(ids) * packed.matrices[0].shape[1] / seconds["products"], 1
        ),
        "ratio": seconds["met"] / seconds["products"],
    }


def _products(blocks: pa.Table, packed: Packed, out: Float32Array) -> float:
    """Return the seconds that the products of blocks of people with all tracks take."""
    arrays = [unpack(payload.as_py()) for payload in blocks.column("payload")]
    vectors = [
        np.concatenate(
            [of["als"], of["content"], np.ones((len(of["level"]), len(OF_TRACKS)))], axis=1, dtype=np.float32
        )
        for of in arrays
    ]
    began = time.perf_counter()
    for matrix in packed.matrices:
        for of_people in vectors:
            np.matmul(of_people, matrix.T, out=out[: len(of_people), : len(matrix)])
    return time.perf_counter() - began


# --- beside ----------------------------------------------------------------------------------------------------


def anchor(config: Config) -> dict[str, Any] | None:
    """Time ALS and lists for everybody by the library `implicit`; None where it is not installed."""
    if implicit is None:
        return None
    reader = Reader(config.warehouse, config.storage)
    rows = reader.arrow("preferences", columns=["user_id", "track_id", "preference", "confidence"])
    rows = rows.filter(pc.greater(rows.column("preference"), 0))
    person, track = (rows.column(name).combine_chunks().dictionary_encode() for name in ("user_id", "track_id"))
    of: list[Int64Array] = [column.indices.to_numpy(zero_copy_only=False) for column in (person, track)]
    evidence = pc.multiply(rows.column("preference"), rows.column("confidence")).to_numpy()
    shape = (len(person.dictionary), len(track.dictionary))
    likes = sparse.csr_matrix((evidence.astype(np.float32), (of[0], of[1])), shape=shape)
    listeners = config.listeners
    als = implicit.als.AlternatingLeastSquares(
        factors=listeners.factors,
        iterations=listeners.als_iterations,
        regularization=listeners.als_regularisation,
        num_threads=CORES,
        random_state=0,
    )
    with threadpool_limits(1, "blas"):  # as it asks for itself
        began = time.perf_counter()
        als.fit(likes, show_progress=False)
        fitted = time.perf_counter()
        als.recommend(np.arange(shape[0]), likes, N=listeners.top_n)
        done = time.perf_counter()
    return {
        "version": implicit.__version__,
        "people": shape[0],
        "tracks": shape[1],
        "als_seconds": round(fitted - began, 2),
        "lists_seconds": round(done - fitted, 2),
    }


@click.command(help=__doc__)
@click.option("--events", type=int, default=10_000_000, help="Of the first night; 1 % more come in a day.")
@click.option("--people", type=int, default=100_000)
@click.option("--tracks", type=int, default=100_000)
@click.option("--dimensions", type=int, default=128, help="Of the vectors by which content is judged.")
@click.option("--memory", "heap", default="2g", help="Of the driver's Java.")
@click.option("--threads", type=int, default=1, help="Of BLAS in the scoring step; a task of Spark's has one.")
@click.option("--set", "more", multiple=True, help="Further settings, as `specrec nightly` takes them.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=REPOSITORY / "build" / "bench" / "listeners_scale.json"
)
def main(
    *,
    events: int,
    people: int,
    tracks: int,
    dimensions: int,
    heap: str,
    threads: int,
    more: tuple[str, ...],
    out: Path,
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, warehouse = Path(place) / "events", Path(place) / "warehouse"
        folder.mkdir()
        settings = (
            f"warehouse={warehouse}",
            f"listeners.events={folder}",
            f"spark.master=local[{CORES}]",
            f"spark.jars_dir={REPOSITORY / '.jars'}",
            f"spark.driver_memory={heap}",
            "log.level=warning",
            *more,
        )
        config = load(None, settings, needs_catalogue=False)
        write_tracks(warehouse, tracks, dimensions, config)
        write_events(folder / "first.parquet", events, people, tracks, days=(0, DAYS), seed=1)
        results: dict[str, Any] = {
            "events": events,
            "people": people,
            "tracks": tracks,
            "cores": CORES,
            "cpu": cpu_model(),
            "driver_memory": heap,
            "first": night(settings),
        }
        write(results, out)  # what comes next may take long
        results |= {"scoring": score(config, threads), "implicit": anchor(config)}
        print("scoring", results["scoring"], "implicit", results["implicit"], flush=True)
        write_events(folder / "day.parquet", events // 100, people, tracks, days=(DAYS, DAYS + 1), seed=2)
        results["day"] = night(settings)
    first, day = results["first"], results["day"]
    results |= {
        "day_ratio": day["seconds"] / first["seconds"],
        "day_ratios": {
            name: round(day["stages"][name]["seconds"] / first["stages"][name]["seconds"], 3)
            for name in OF_LISTENERS
        },
        "peak_process_gib": max(first["peak_process_gib"], day["peak_process_gib"]),
        "score_ratio_vs_gemm": results["scoring"]["ratio"],
    }
    for name in ("day_ratio", "day_ratios", "peak_process_gib", "score_ratio_vs_gemm"):
        print(name, results[name])
    write(results, out)


if __name__ == "__main__":
    main()
