"""The whole job on a small rendered catalogue: what it writes, and what it leaves alone the second time."""

from __future__ import annotations

import math
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import duckdb
import numpy as np
import pytest
from nights import LISTED, RESULTS, VOLATILE, Night, copy_artefacts, read_csv, untrue, write_csv
from pyspark.sql import SparkSession

from specrec.audio.mel import decode_mel
from specrec.demo import render_catalogue
from specrec.embedding.config import SYSTEMS
from specrec.embedding.excerpts import encode, pitch_classes
from specrec.errors import CatalogueError, ExtractionError
from specrec.pipeline.hashes import results_hash
from specrec.pipeline.run_metrics import RUN_METRICS
from specrec.warehouse.artefacts import unpack
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse


def test_every_track_is_recommended_without_gaps_or_itself(first_night: Night) -> None:
    lists = defaultdict(list)
    for row in first_night.rows("recommendations"):
        lists[row["system"], row["track_id"]].append((row["rank"], row["recommended_track_id"], row["affinity"]))
    assert len(lists) == len(SYSTEMS) * 24
    for (_, track_id), entries in lists.items():
        entries.sort()
        ranks, others, affinities = zip(*entries, strict=True)
        assert ranks == tuple(range(1, 11))
        assert track_id not in others
        assert len(set(others)) == 10
        assert list(affinities) == sorted(affinities, reverse=True)


def test_contributions_add_up_to_the_score(first_night: Night) -> None:
    for row in first_night.rows("recommendations"):
        assert math.fsum(reason["contribution"] for reason in row["reasons"]) == pytest.approx(
            row["score"], abs=1e-6
        )
        assert 0 < len(row["explanation"]) < 200
        assert all(reason["statement"] for reason in row["reasons"])


def test_every_explanation_is_true_of_the_tables(first_night: Night) -> None:
    assert untrue(first_night) == []


def test_excerpts_lie_in_the_clips_and_are_those_that_match_best(first_night: Night) -> None:
    seconds = {row["track_id"]: row["seconds"] for row in first_night.rows("audio_features")}
    excerpts = {
        row["track_id"]: np.frombuffer(row["excerpts"], np.int8).reshape(-1, 32).astype(np.float64)
        for row in first_night.rows("embeddings")
        if row["space"] == "spectrogram"
    }
    assert {len(codes) for codes in excerpts.values()} == {5}  # of 1 s, every 0.5 s, in 3 s
    chosen = set()
    for row in first_night.rows("recommendations"):
        starts = row["track_seconds"], row["recommended_seconds"]
        for track_id, start in zip((row["track_id"], row["recommended_track_id"]), starts, strict=True):
            assert start in (0.25, 0.75, 1.25, 1.75, 2.25)  # of the file, not of the clip, which begins at 0.25 s
            assert start - 0.25 + 1 <= seconds[track_id] + 0.03  # a frame lasts 0.023 s
        i, j = (int((start - 0.25) / 0.5) for start in starts)
        a, b = excerpts[row["track_id"]], excerpts[row["recommended_track_id"]]
        heard = [(k, m) for k, x in enumerate(a) for m, y in enumerate(b) if x.any() and y.any()]
        cosine = {(k, m): a[k] @ b[m] / np.linalg.norm(a[k]) / np.linalg.norm(b[m]) for k, m in heard}
        assert cosine[i, j] == pytest.approx(max(cosine.values()), abs=1e-12)
        chosen.add(starts)
    assert len(chosen) > 12  # of 25


def test_excerpts_are_of_the_stored_spectrograms(first_night: Night) -> None:
    config, frame_rate = first_night.config(), 22_050 / 512
    pca = next(row["payload"] for row in first_night.rows("artefacts") if row["name"] == "spectrogram_pca")
    stored = {
        row["track_id"]: row["excerpts"] for row in first_night.rows("embeddings", without=()) if row["excerpts"]
    }
    classes = pitch_classes(config.audio, 22_050)
    mels = first_night.rows("mel_spectrograms")
    assert {row["track_id"] for row in mels} == set(stored)
    for row in mels:
        mel = decode_mel(row["mel"], row["n_mels"], row["n_frames"])
        assert stored[row["track_id"]] == encode(mel, frame_rate, 1.0, unpack(pca), classes)


def test_neighbours_are_the_nearest_by_brute_force(first_night: Night) -> None:
    vectors, found = defaultdict(dict), defaultdict(list)
    for row in first_night.rows("embeddings"):
        vectors[row["space"]][row["track_id"]] = np.array(row["vector"], np.float64)
    for row in first_night.rows("neighbours"):
        found[row["space"], row["track_id"]].append(
            (row["rank"], row["neighbour_id"], row["cosine"], row["euclidean"])
        )
    for space, of in vectors.items():
        for track_id, vector in of.items():
            cosines = {
                other: vector @ v / np.linalg.norm(vector) / np.linalg.norm(v)
                for other, v in of.items()
                if other != track_id
            }
            expected = sorted(cosines, key=lambda other: (-cosines[other], other))
            rows = sorted(found[space, track_id])
            assert [row[1] for row in rows] == expected
            for _, other, cosine, euclidean in rows:
                assert cosine == pytest.approx(cosines[other], abs=1e-12)
                assert euclidean == pytest.approx(np.linalg.norm(vector - of[other]), abs=1e-9)


def test_recommendations_are_mostly_of_the_tracks_own_style(first_night: Night) -> None:
    style = {row["track_id"]: row["track_genre"] for row in first_night.rows("tracks")}
    for system in SYSTEMS:
        same = [
            style[row["track_id"]] == style[row["recommended_track_id"]]
            for row in first_night.rows("recommendations")
            if row["system"] == system and row["rank"] <= 3  # a style has three other clips
        ]
        assert np.mean(same) > 0.6, system  # by chance 0.13


def test_runs_say_what_each_stage_did(first_night: Night) -> None:
    rows = first_night.rows("runs")
    assert Counter(row["stage"] for row in rows) == Counter(
        ["ingest", "extract", "fit", "embed", "neighbours", "duplicates", "recommend", "map", "account"]
    )
    assert {row["status"] for row in rows} == {"done"}
    extract = next(row for row in rows if row["stage"] == "extract")
    assert (extract["rows_in"], extract["rows_out"], extract["rows_failed"]) == (24, 24, 0)
    assert extract["versions"]["librosa"]
    assert extract["config_hash"] == results_hash(first_night.config())


def test_the_numbers_of_a_night_are_declared_and_those_that_its_words_say(first_night: Night) -> None:
    said = {row["stage"]: row for row in first_night.rows("runs")}
    numbers = {(row["stage"], row["part"], row["metric"]): row["value"] for row in first_night.rows("run_metrics")}
    assert len(numbers) == len(first_night.rows("run_metrics"))
    assert {metric for _, _, metric in numbers} <= RUN_METRICS.keys()
    for stage, row in said.items():
        for name in ("seconds", "rows_in", "rows_out", "rows_failed"):
            assert numbers.get((stage, "", name)) == row[name], (stage, name)
        # whatever the words say with a number alone stands there as a number
        for name, words in row["details"].items():
            if words.replace(".", "").isdigit():
                found = [value for of, value in numbers.items() if of[0] == stage and name in of[1:]]
                assert float(words) == pytest.approx(found[0], rel=1e-3), (stage, name)
    assert numbers["ingest", "", "added"] == numbers["extract", "", "decoded"] == 24
    for system in SYSTEMS:
        assert numbers["recommend", system, "rows"] == 240
        assert said["recommend"]["details"][system] == "240 rows"
        assert numbers["embed", system, "vectors"] == 24
    assert numbers["account", "", "with_list"] == numbers["account", "", "catalogue"] == 24


def test_comments_of_every_column_reach_the_tables(first_night: Night, spark: SparkSession) -> None:
    warehouse = Warehouse(lambda: spark, first_night.warehouse, first_night.config().storage)
    for name, table in TABLES.items():
        for field in warehouse.read(name).schema.fields:
            assert field.metadata["comment"] == table.schema[field.name].metadata["comment"], (name, field.name)


def test_a_service_reads_recommendations_with_duckdb(first_night: Night) -> None:
    lists = first_night.reader.table("recommendations").to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("recommendations", lists)
        rows = connection.execute(
            "select recommended_track_id, score, explanation, reasons[1].family from recommendations "
            "where system = 'hybrid' and track_id = 'demo-0001' order by rank"
        ).fetchall()
    expected = [
        (row["recommended_track_id"], row["score"], row["explanation"], row["reasons"][0]["family"])
        for row in first_night.rows("recommendations")
        if (row["system"], row["track_id"]) == ("hybrid", "demo-0001")
    ]
    assert sorted(rows) == sorted(expected)
    assert len(rows) == 10


def test_an_unchanged_night_decodes_and_writes_nothing(second_night: Night) -> None:
    before = second_night.versions()
    run_id = second_night.run()
    assert second_night.stage(run_id, "extract")["details"]["decoded"] == "0"
    stages = {row["stage"]: row["status"] for row in second_night.reader.rows("runs") if row["run_id"] == run_id}
    assert set(stages.values()) == {"unchanged"}
    assert second_night.versions() == before


def test_a_changed_weight_recomputes_only_the_hybrid(second_night: Night) -> None:
    before = second_night.rows("recommendations", without=())
    settings = "embedding.hybrid_weights={features: 0.5, spectrogram: 0.5}"
    run_id = second_night.run(settings, stages=LISTED[1:])
    assert second_night.stage(run_id, "extract")["status"] == "unchanged"
    assert second_night.stage(run_id, "fit")["status"] == "unchanged"
    assert second_night.stage(run_id, "embed")["rows_out"] == 24
    searched = second_night.stage(run_id, "neighbours")["details"]
    assert searched["features"] == searched["spectrogram"] == "unchanged"
    assert searched["hybrid"] != "unchanged"
    after = second_night.rows("recommendations", without=())
    for system in ("features", "spectrogram"):
        assert [r for r in before if r["system"] == system] == [r for r in after if r["system"] == system]
    assert [r for r in before if r["system"] == "hybrid"] != [r for r in after if r["system"] == "hybrid"]


def test_new_changed_and_removed_clips_end_as_in_a_full_rebuild(
    second_night: Night, rendered: Path, tmp_path: Path
) -> None:
    catalogue = Path(second_night.catalogue)
    rows = read_csv(catalogue)
    changed = rows[3] | {"audio": rows[9]["audio"]}
    renamed = rows[5] | {"track_name": "A new title"}
    # the seventh is gone
    write_csv(catalogue, [*rows[:3], changed, rows[4], renamed, *rows[7:], *read_csv(rendered / "more.csv")])
    run_id = second_night.run()

    ingest, extract = second_night.stage(run_id, "ingest"), second_night.stage(run_id, "extract")
    assert {name: ingest["details"][name] for name in ("added", "changed", "removed")} == {
        "added": "2",
        "changed": "2",  # a file and a title
        "removed": "1",
    }
    assert (extract["details"]["decoded"], extract["details"]["removed"]) == ("3", "1")
    rebuilt = Night(str(catalogue), f"{tmp_path}/rebuilt", second_night.settings)
    copy_artefacts(second_night, rebuilt)
    rebuilt.run()
    for table in RESULTS:
        assert second_night.rows(table) == rebuilt.rows(table), table
    assert untrue(second_night) == []  # what is usual is that of the catalogue as it stands


def test_a_catalogue_that_shrinks_by_more_than_half_deletes_nothing(second_night: Night) -> None:
    before = second_night.versions()
    catalogue = Path(second_night.catalogue)
    write_csv(catalogue, read_csv(catalogue)[:11])
    with pytest.raises(CatalogueError, match=r"13 of 24 tracks are gone .* nothing was deleted"):
        second_night.run()
    assert second_night.versions() == before

    # allowed to, and told to fit anew: new versions, and what hangs on them is computed again
    run_id = second_night.run("catalogue.max_removed_share=1", refit=True, stages=LISTED)
    assert {row["track_id"] for row in second_night.rows("recommendations")} == {
        f"demo-{i:04}" for i in range(1, 12)
    }
    versions = {(row["name"], row["version"], row["reason"]) for row in second_night.rows("artefacts")}
    assert {name for name, version, reason in versions if (version, reason) == (2, "requested")} == {
        "features_scaler",
        "spectrogram_pca",
    }
    assert second_night.stage(run_id, "embed")["rows_out"] == 3 * 11
    assert second_night.stage(run_id, "extract")["details"]["decoded"] == "0"


def test_a_store_that_lost_more_than_half_of_the_audio_deletes_nothing(second_night: Night, tmp_path: Path) -> None:
    before = second_night.versions()
    (tmp_path / "empty" / "audio").mkdir(parents=True)
    with pytest.raises(CatalogueError, match="24 of 24 audio files are gone"):
        second_night.run(f"catalogue.audio_root={tmp_path}/empty")
    assert second_night.versions() == before


def test_a_night_fails_when_too_many_files_do_and_keeps_what_it_did(rendered: Path, tmp_path: Path) -> None:
    rows = read_csv(rendered / "catalogue.csv")[:12]
    (tmp_path / "music" / "audio").mkdir(parents=True)
    catalogue = write_csv(tmp_path / "music" / "catalogue.csv", rows)
    for row in rows:
        shutil.copy(rendered / row["audio"], tmp_path / "music" / row["audio"])
    for row in rows[:3]:
        (tmp_path / "music" / row["audio"]).write_bytes(b"<html>not found</html>")
    night = Night(str(catalogue), f"{tmp_path}/warehouse")
    with pytest.raises(ExtractionError, match=r"3 of 12 audio files failed \(3 undecodable\)"):
        night.run()
    assert len(night.rows("audio_features")) == 9
    assert night.reader.rows("runs", [("stage", "=", "extract")])[0]["status"] == "failed"
    run_id = night.run("extract.max_failed_share=0.25", stages=LISTED[1:])
    assert night.stage(run_id, "extract")["details"]["decoded"] == "0"  # neither the good nor the bad again
    assert len({row["track_id"] for row in night.rows("recommendations")}) == 9


def test_one_track_has_no_neighbours_and_breaks_nothing(tmp_path: Path) -> None:
    catalogue = render_catalogue(tmp_path / "music", clips=1, seconds=2.0)
    night = Night(str(catalogue), f"{tmp_path}/warehouse")
    night.run()
    assert night.rows("recommendations") == []
    assert len(night.rows("audio_features")) == 1


def test_tables_are_told_apart_by_more_than_their_volatile_columns(first_night: Night) -> None:
    """What the comparisons above leave out is little: each table keeps its key and its values."""
    for name in RESULTS:
        rows = first_night.rows(name)
        assert name in {"quarantine", "duplicates"} or rows
        assert set(TABLES[name].key) <= set(rows[0] if rows else TABLES[name].key) - set(VOLATILE)
