"""What a night costs that changes a little, beside the first night of the same catalogue, in one run.

    make bench-night

Extraction is left out: features and short spectrograms are given (tests/given.py), and a night is its stages from
`fit` to `map`, in a process of its own on two cores. Of each size there is a first night, one in which nothing
changed, and one with 1 % of new tracks and 0.5 % gone. Times are wall-clock, the start of Java included; those of
the stages are of the table `runs`.

With `--album` there are nights of all stages on a catalogue with a file for each track: a first one, one in which
nothing changed, and one with twelve new clips of 30 seconds, which are decoded.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import numpy as np
from given import MEASURED as GIVEN
from given import GivenTrack, change_given, write_given
from measured import measure_night
from results import write

from specrec.config import load
from specrec.demo.clips import render_clip
from specrec.demo.files import write_audio
from specrec.pipeline.stages import STAGES
from specrec.warehouse.reader import Reader

REPOSITORY = Path(__file__).resolve().parents[2]
CORES = 2
MEASURED = [stage for stage in STAGES if stage not in ("ingest", "extract")]


def settings(warehouse: Path) -> tuple[str, ...]:
    return (
        f"warehouse={warehouse}",
        f"spark.master=local[{CORES}]",
        f"spark.jars_dir={REPOSITORY / '.jars'}",
        "spark.driver_memory=4g",
        "audio.n_mels=32",
        "log.level=warning",
    )


def night(warehouse: Path, stages: Sequence[str] = MEASURED, *more: str) -> dict[str, Any]:
    """Run stages in a process of its own, all if none is named; return what they cost."""
    done = measure_night((*settings(warehouse), *more), stages)
    return {
        "seconds": done.wall,
        "peak_process_gib": done.peak_gib,
        "stages": {name: round(row["seconds"], 2) for name, row in done.stages.items()},
        "details": {name: row["details"] for name, row in done.stages.items()},
    }


def album_nights(count: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Run nights of all stages: a first one, one in which nothing changed, and one with twelve new clips."""
    warehouse, audio, catalogue = folder / "warehouse", folder / "audio", folder / "catalogue.csv"
    audio.mkdir()
    tracks = list(map(GivenTrack.of, range(count)))
    for track in tracks:  # they were measured already, and are not opened
        (audio / f"{track.track_id}.wav").write_bytes(b"given")

    def write_catalogue(tracks: Sequence[GivenTrack]) -> None:
        rows = (f"{of.track_id},{of.artist},{of.title},audio/{of.track_id}.wav\n" for of in tracks)
        catalogue.write_text("track_id,artists,track_name,audio\n" + "".join(rows), encoding="utf-8")

    write_catalogue(tracks)
    place = f"catalogue.path={catalogue}"
    night(warehouse, ["ingest"], place)
    config = load(None, (*settings(warehouse), place))
    known = {row["track_id"]: row for row in Reader(config.warehouse, config.storage).rows("tracks")}
    placed = [
        replace(of, uri=known[of.track_id]["audio_uri"], fingerprint=known[of.track_id]["audio_fingerprint"])
        for of in tracks
    ]
    write_given(warehouse, placed, config, GIVEN)
    nights = {"first": night(warehouse, (), place), "unchanged": night(warehouse, (), place)}
    album = [GivenTrack(f"album-{number:02}", 0, "the band", f"song {number}") for number in range(12)]
    for number, track in enumerate(album):
        write_audio(audio / f"{track.track_id}.wav", render_clip(number, seconds=30.0))
    write_catalogue([*tracks, *album])
    return nights | {"album": night(warehouse, (), place)}


def little_change(count: int) -> tuple[list[GivenTrack], list[GivenTrack]]:
    """Return what the last night finds changed: 1 % of new tracks, and the 0.5 % that are gone."""
    new = range(count, count + count // 100)
    return list(map(GivenTrack.of, new)), list(map(GivenTrack.of, range(count // 200)))


def exponents(sizes: Sequence[int], nights: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return by which power of the number of tracks the time of each stage grows, by least squares."""
    logs = np.log(list(sizes))
    return {
        stage: round(float(np.polyfit(logs, np.log([night["stages"][stage] for night in nights]), 1)[0]), 2)
        for stage in MEASURED
        if all(night["stages"].get(stage) for night in nights)
    }


@click.command(help=__doc__)
@click.option("--tracks", multiple=True, type=int, default=(25_000, 50_000, 100_000), help="Sizes; repeatable.")
@click.option("--album", type=int, default=170_000, help="Tracks of the catalogue that gets an album; 0: none.")
@click.option("--out", type=click.Path(path_type=Path), default=REPOSITORY / "build" / "bench" / "night.json")
def main(tracks: tuple[int, ...], album: int, out: Path) -> None:
    results: dict[str, Any] = {}
    if album:
        with tempfile.TemporaryDirectory() as folder:
            of_album = album_nights(album, Path(folder))
        show(album, of_album)
        name = f"{album // 1000}k"
        results |= {f"{which}_{name}_seconds": of_album[which]["seconds"] for which in ("album", "unchanged")}
        results["album"] = {"tracks": album, "nights": of_album}
    if tracks:
        results |= small_changes(tracks)
    write(results, out)


def show(count: int, nights: dict[str, dict[str, Any]]) -> None:
    for name, result in nights.items():
        print(count, name, {key: of for key, of in result.items() if key != "details"}, flush=True)


def small_changes(tracks: Sequence[int]) -> dict[str, Any]:
    """Measure nights in which a little changed, at each size."""
    nights: dict[int, dict[str, Any]] = {}
    for count in sorted(tracks):
        with tempfile.TemporaryDirectory() as folder:
            warehouse = Path(folder) / "warehouse"
            config = load(None, settings(warehouse), needs_catalogue=False)
            write_given(warehouse, list(map(GivenTrack.of, range(count))), config)
            of_count = {"first": night(warehouse), "unchanged": night(warehouse)}
            change_given(warehouse, *little_change(count), config, "given again")
            of_count["one_percent"] = night(warehouse)
        show(count, of_count)
        nights[count] = of_count
    greatest = nights[max(nights)]
    results = {
        "tracks": max(nights),
        "one_percent_ratio": greatest["one_percent"]["seconds"] / greatest["first"]["seconds"],
        "unchanged_seconds": greatest["unchanged"]["seconds"],
        "peak_process_gib": max(result["peak_process_gib"] for result in greatest.values()),
        "nights": nights,
    }
    if len(nights) > 1:
        of_one_percent = [of["one_percent"] for of in nights.values()]
        results["exponents_one_percent"] = exponents(list(nights), of_one_percent)
    return results


if __name__ == "__main__":
    main()
