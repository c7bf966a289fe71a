"""`specrec evaluate` on a night of its own: its figures beside what they should be by the tables themselves."""

from __future__ import annotations

import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from deltalake import DeltaTable, write_deltalake
from nights import QUICK, Night, read_csv, write_csv
from scipy import stats

from specrec.cli import main
from specrec.embedding.config import SYSTEMS
from specrec.errors import ConfigError
from specrec.evaluate.metrics import METRICS, TOGETHER
from specrec.pipeline.evaluate import Evaluation, evaluate

Figures = dict[tuple[str, str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def evaluated(
    first_night: Night, rendered: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Night, Evaluation]:
    """The first night, with a catalogue that names songs, of two clips each, and has feedback; evaluated."""
    folder = tmp_path_factory.mktemp("evaluated")
    rows = read_csv(rendered / "catalogue.csv")
    catalogue = write_csv(
        folder / "catalogue.csv", [row | {"part_of": f"song {i % 6} {i // 12}"} for i, row in enumerate(rows)]
    )
    feedback = write_csv(
        folder / "feedback.csv",
        [
            {
                "track_id": row["track_id"],
                "liked": str(int(i % 7 > person)),
                "disliked": str(int(i % 5 > person + 2)),
            }
            for i, row in enumerate(rows[:-2])
            for person in range(4)
        ],
    )
    settings = (
        f"catalogue.audio_root={rendered}",
        "evaluate.song_column=part_of",
        f"evaluate.feedback={feedback}",
        "evaluate.resamples=200",
        "recommend.hubs=off",  # candidates are then ranked by their cosine
    )
    night = Night(str(catalogue), f"{folder}/warehouse", settings)
    shutil.copytree(first_night.warehouse, night.warehouse)
    night.run(stages=("ingest", "recommend"))
    return night, evaluate(night.config())


def figures(night: Night, run_id: str) -> Figures:
    rows = [row for row in night.reader.rows("evaluation") if row["run_id"] == run_id]
    assert len({(row["metric"], row["system"], row["slice"]) for row in rows}) == len(rows)
    return {(row["metric"], row["system"], row["slice"]): row for row in rows}


def ranked(night: Night, table: str, system: str, other: str) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = defaultdict(list)
    name = "space" if table == "neighbours" else "system"
    for row in sorted(
        night.reader.rows(table, [(name, "=", system)]), key=lambda row: (row["track_id"], row["rank"])
    ):
        lists[row["track_id"]].append(row[other])
    return lists


def specrec(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "220"}).invoke(main, arguments)


def test_the_figures_are_what_the_tables_say(evaluated: tuple[Night, Evaluation]) -> None:
    night, found = evaluated
    by = figures(night, found.run_id)
    tracks = {row["track_id"]: row for row in night.rows("tracks")}
    likes = _likes(night)

    def check(metric: str, system: str, value: float) -> None:
        assert by[metric, system, ""]["value"] == pytest.approx(value, abs=1e-9), (metric, system)

    def mean_over_tracks(lists: dict[str, list[str]], of: Callable[[str, list[str]], float]) -> float:
        return float(np.nanmean([of(track, listed) for track, listed in lists.items()]))

    def genre(track: str, listed: list[str]) -> float:
        others = [i for i in listed if tracks[i]["artists"] != tracks[track]["artists"]][:10]
        return float(np.mean([tracks[i]["track_genre"] == tracks[track]["track_genre"] for i in others]))

    def song(track: str, listed: list[str]) -> float:
        return float(tracks[track]["extra"]["part_of"] in [tracks[i]["extra"]["part_of"] for i in listed])

    for system in SYSTEMS:
        nearest = ranked(night, "neighbours", system, "neighbour_id")
        check("genre_precision_at_10", system, mean_over_tracks(nearest, genre))
        check("song_precision_at_1", system, mean_over_tracks(nearest, lambda t, row: song(t, row[:1])))
        check("song_hit_at_10", system, mean_over_tracks(nearest, lambda t, row: song(t, row[:10])))

        lists = ranked(night, "recommendations", system, "recommended_track_id")
        times = Counter(i for row in lists.values() for i in row)
        counts = [times[track] for track in tracks]
        check("coverage", system, np.mean([count > 0 for count in counts]))
        check("never_recommended", system, np.mean([count == 0 for count in counts]))
        check("hubness", system, stats.skew(counts))
        check("novelty", system, np.mean([-math.log2(times[i] / 24) for row in lists.values() for i in row]))
        check("lists_not_full", system, 0)
        same = [tracks[i]["artists"] == tracks[track]["artists"] for track, row in lists.items() for i in row]
        check("same_artist_rate", system, np.mean(same))

        of_lists = {t: [likes[i] for i in row if i in likes] for t, row in lists.items() if t in likes}
        pairs = [(likes[track], round(float(np.mean(of)), 12)) for track, of in of_lists.items() if of]
        check("listener_agreement", system, stats.spearmanr(*zip(*pairs, strict=True)).statistic)

        rows = night.reader.rows("recommendations", [("system", "=", system)])
        said = Counter(row["explanation"] for row in rows)
        check("explanation_commonest", system, said.most_common(1)[0][1] / len(rows))
        check("explanation_distinct", system, len(said) / len(rows))
        errors = [abs(row["score"] - math.fsum(r["contribution"] for r in row["reasons"])) for row in rows]
        check("explanation_error", system, max(errors))
        assert max(errors) < 1e-6

        assert by["explanation_truth", system, ""]["value"] == 1
        assert by["fidelity_score", system, ""]["value"] > by["fidelity_score_others", system, ""]["value"]
        assert by["fidelity_rank", system, ""]["value"] > by["fidelity_rank_others", system, ""]["value"]
        assert by["fidelity_score", system, ""]["details"] == {"pairs": "240", "ranked_among": "24"}
        assert 0 < by["read_ms", system, ""]["value"] < 10_000

        vectors = {
            row["track_id"]: row["vector"] for row in night.reader.rows("embeddings", [("space", "=", "hybrid")])
        }
        spread = [1 - _mean_cosine([vectors[i] for i in row]) for row in lists.values()]
        check("diversity", system, float(np.mean(spread)))
    for (metric, system, of_slice), row in by.items():
        assert metric in METRICS
        # of a genre's four tracks, or of what is expected of a baseline, it may miss the value
        if system in SYSTEMS and row["low"] is not None and not of_slice:
            assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9, (metric, row)


def _likes(night: Night) -> dict[str, float]:
    sums: dict[str, np.ndarray[Any, Any]] = defaultdict(lambda: np.zeros(2))
    for row in read_csv(Path(night.config().evaluate.feedback or "")):
        sums[row["track_id"]] += [float(row["liked"]), float(row["disliked"])]
    return {track: likes / (likes + dislikes) for track, (likes, dislikes) in sums.items() if likes + dislikes}


def _mean_cosine(vectors: list[list[float]]) -> float:
    matrix = np.array(vectors)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return float((matrix @ matrix.T)[np.triu_indices(len(matrix), 1)].mean())


def test_systems_beat_chance_and_the_baselines_do_not(evaluated: tuple[Night, Evaluation]) -> None:
    night, found = evaluated
    by = figures(night, found.run_id)
    chance = by["genre_precision_at_10", "random", ""]
    # of a style's four clips by four artists, three are among 23 others
    assert chance["low"] - 0.05 < 3 / 23 < chance["high"] + 0.05
    for system in SYSTEMS:
        assert by["genre_precision_at_10", system, ""]["low"] > chance["high"]
        assert by["song_hit_at_10", system, ""]["value"] > by["song_hit_at_10", "popularity", ""]["value"]
    assert ("genre_precision_at_10", "genre_prior", "") not in by  # it knows the answer
    assert by["coverage", "popularity", ""]["value"] == pytest.approx(11 / 24)
    assert by["hubness", "popularity", ""]["value"] == pytest.approx(stats.skew([23] * 10 + [10] + [0] * 13))
    assert {of_slice for metric, _, of_slice in by if metric == "genre_precision_at_10"} == {
        "", *(row["track_genre"] for row in night.rows("tracks"))
    }  # fmt: skip
    assert set(found.left_out) == {"duplicate_rate"}


def test_evaluated_again_every_figure_is_the_same_whatever_the_partitions(
    evaluated: tuple[Night, Evaluation],
) -> None:
    night, found = evaluated
    settings = [word for setting in (*QUICK, *night.settings) for word in ("--set", setting)]
    result = specrec(
        "evaluate", "--warehouse", night.warehouse, "--by-genre", *settings,
        "--set", "spark.shuffle_partitions=5",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for word in ("genre_precision_at_10", "popularity", "duplicate_rate is left out: "):
        assert word in result.output
    runs = {row["run_id"]: row for row in night.reader.rows("runs") if row["stage"] == "evaluate"}
    (again,) = set(runs) - {found.run_id}
    assert (runs[again]["status"], runs[again]["rows_in"], runs[again]["rows_out"]) == (
        "done", 24, len(found.measurements)
    )  # fmt: skip
    first, second = figures(night, found.run_id), figures(night, again)
    assert first.keys() == second.keys()
    for key, row in first.items():
        if key[0] != "read_ms":
            assert (second[key]["n"], second[key]["details"]) == (row["n"], row["details"]), key
            for name in ("value", "low", "high"):
                expected = row[name] and pytest.approx(row[name], rel=1e-9, abs=1e-12)  # None: no interval
                assert second[key][name] == expected, key


def test_without_labels_it_says_what_it_left_out(evaluated: tuple[Night, Evaluation], tmp_path: Path) -> None:
    night, _ = evaluated
    shutil.copytree(night.warehouse, tmp_path / "warehouse")
    DeltaTable(tmp_path / "warehouse" / "tracks").update({"track_genre": "NULL", "popularity": "NULL"})
    settings = ("evaluate.song_column=none", "evaluate.resamples=20", "recommend.hubs=off")
    bare = Night(night.catalogue, f"{tmp_path}/warehouse", settings)
    found = evaluate(bare.config("evaluate.sample_tracks=10"))
    assert {
        "genre_precision_at_10", "genre_precision_at_10_other_albums", "genre_prior", "popularity",
        "song_precision_at_1", "song_hit_at_10", "listener_agreement",
    } < set(found.left_out)  # fmt: skip
    assert "no feedback is configured" in found.left_out["listener_agreement"]
    by = figures(bare, found.run_id)
    assert {system for _, system, _ in by} == {*SYSTEMS, TOGETHER, "random"}
    assert {row["n"] for (metric, _, _), row in by.items() if metric in ("diversity", "fidelity_rank")} == {10}
    assert {row["n"] for (metric, _, _), row in by.items() if metric == "coverage"} == {24}


def test_a_recording_that_there_is_twice_counts_once(evaluated: tuple[Night, Evaluation], tmp_path: Path) -> None:
    night, _ = evaluated
    shutil.copytree(night.warehouse, tmp_path / "warehouse")
    twice = sorted(row["track_id"] for row in night.rows("tracks"))[:2]
    place = tmp_path / "warehouse" / "duplicates"
    schema = pa.schema(DeltaTable(place).schema().to_arrow())
    planted = [
        {
            "track_id": track,
            "group_id": twice[0],
            "matched_track_id": other,
            "same_bytes": True,
            "run_id": "planted",
        }
        for track, other in zip(twice, reversed(twice), strict=True)
    ]
    write_deltalake(place, pa.Table.from_pylist(planted, schema), mode="append")
    found = evaluate(Night(night.catalogue, f"{tmp_path}/warehouse", night.settings).config())
    assert "duplicate_rate" not in found.left_out
    values = {(of.metric, of.system): of for of in found.measurements if not of.slice}
    for system in SYSTEMS:
        lists = ranked(night, "recommendations", system, "recommended_track_id")
        recordings = {twice[0] if track in twice else track for row in lists.values() for track in row}
        assert values["coverage", system].value == pytest.approx(len(recordings) / 23)
        surplus = [
            len(row) - len({twice[0] if i in twice else i for i in row} - {twice[0] if track in twice else track})
            for track, row in lists.items()
        ]
        assert values["duplicate_rate", system].value == pytest.approx(sum(surplus) / 240)


def test_other_settings_than_the_nights_are_refused(evaluated: tuple[Night, Evaluation]) -> None:
    night, _ = evaluated
    with pytest.raises(ConfigError, match="made with other settings"):
        evaluate(night.config("recommend.top_n=5"))


def test_what_cannot_be_evaluated_is_refused_in_one_line(
    evaluated: tuple[Night, Evaluation], tmp_path: Path
) -> None:
    night, _ = evaluated
    result = specrec("evaluate", "--warehouse", str(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert "run `specrec nightly` first" in result.output
    assert not (tmp_path / "nowhere").exists()
    bad = write_csv(tmp_path / "feedback.csv", [{"track_id": "demo-0000", "stars": "3"}])
    with pytest.raises(ConfigError, match="lacks the column disliked and liked"):
        evaluate(night.config(f"evaluate.feedback={bad}"))
