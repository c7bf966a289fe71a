"""A model in ONNX as a further system: made, told, made anew without decoding, and taken away."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nights import LISTED, Night, untrue, write_csv
from onnx_models import matrix, write_model
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from specrec.audio.config import ModelMelConfig
from specrec.audio.isolated import Analyst
from specrec.audio.mel import decode_mel
from specrec.audio.model_mel import measure
from specrec.pipeline.query import query
from specrec.pipeline.query_many import query_many
from specrec.recommend.explain import explainer_of
from specrec.recommend.profiles import profile_of
from specrec.recommend.spark import profiles
from specrec.warehouse.artefacts import Artefact
from specrec.warehouse.reader import Reader

SHARES = {"features": 0.4, "spectrogram": 0.2, "encoder": 0.3, "heard": 0.1}
WEIGHTS = f"embedding.hybrid_weights={json.dumps(SHARES)}"


MEL = ModelMelConfig(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=40, scaling="log_10000")
TAGS = ["slow and sad", "choir", "no vocals", "harp", "loud", "opera", "music"]


class Taught:
    """A model that gives each sixth track a tag of its own, and all tracks the last."""

    def __init__(self, night: Night) -> None:
        self._ids = [row["track_id"] for row in night.rows("tracks")]
        audio, files = night.config().audio, [Path(row["audio_uri"]) for row in night.rows("tracks")]
        levels = np.stack([measure(file.read_bytes(), audio, MEL).mel.mean(axis=1) for file in files])
        has = np.arange(len(files))[:, None] % 6 == np.arange(6)
        has = np.concatenate([has, np.ones((len(files), 1), bool)], axis=1)
        wanted = np.where(has, 6, -6) + np.random.default_rng(0).uniform(-1, 1, has.shape)
        self.weights = np.linalg.lstsq(levels.astype(float), wanted, rcond=None)[0].astype(np.float32)
        self.vectors = dict(zip(self._ids, wanted, strict=True))

    def tags(self, track_id: str) -> set[str]:
        return {TAGS[self._ids.index(track_id) % 6], TAGS[-1]}


def test_a_model_is_a_further_system(second_night: Night, tmp_path: Path) -> None:
    night = second_night
    weights = matrix(128)
    path = write_model(tmp_path / "encoder.onnx", weights)
    # a second one that hears another mel spectrogram, and so the audio itself, and that names tags
    taught = Taught(night)
    own = write_model(tmp_path / "own.onnx", taught.weights, tags=TAGS)
    mel = json.dumps(MEL.model_dump())
    settings = (f"embedding.models={{encoder: {{path: {path}}}, heard: {{path: {own}, mel: {mel}}}}}", WEIGHTS)
    before = night.rows("embeddings", without=())
    run_id = night.run(*settings, stages=LISTED[1:])
    assert night.stage(run_id, "extract")["details"]["decoded"] == "0"
    assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] in night.stage(run_id, "embed")["details"]["encoder"]

    rows = {(row["space"], row["track_id"]): row for row in night.rows("embeddings")}
    for mel in night.rows("mel_spectrograms"):
        unit = decode_mel(mel["mel"], mel["n_mels"], mel["n_frames"]) / 80 + 1
        row = rows["encoder", mel["track_id"]]
        np.testing.assert_allclose(row["vector"], unit.clip(0, 1).mean(axis=1) @ weights, rtol=1e-3, atol=1e-4)
        assert row["model_hash"] == hashlib.sha256(path.read_bytes()).hexdigest()
        hybrid, cosines = np.array(rows["hybrid", mel["track_id"]]["vector"]), []
        for space in SHARES:
            part, hybrid = np.split(hybrid, [len(rows[space, mel["track_id"]]["vector"])])
            own = np.array(rows[space, mel["track_id"]]["vector"])
            cosines.append(part @ own / np.linalg.norm(own))
        np.testing.assert_allclose(np.square(cosines), list(SHARES.values()), rtol=1e-4)
    kept = [row for row in night.rows("embeddings", without=()) if row["space"] in ("features", "spectrogram")]
    assert kept == [row for row in before if row["space"] != "hybrid"]

    for track_id, vector in taught.vectors.items():
        np.testing.assert_allclose(rows["heard", track_id]["vector"], vector, atol=0.1)
        tags = {tag["name"]: tag["score"] for tag in rows["heard", track_id]["tags"]}
        assert tags.keys() == taught.tags(track_id)
        assert min(tags.values()) > 0.9
        assert rows["encoder", track_id]["tags"] is rows["hybrid", track_id]["tags"] is None

    lists = [row["system"] for row in night.rows("recommendations")]
    assert lists.count("encoder") == lists.count("heard") == 24 * 10
    _check_parts(night, rows)
    assert untrue(night) == []
    _check_tags(night, taught)
    _ask(night, settings, tmp_path)

    # another model under the same name: its vectors and the hybrid's are made anew, and nothing is decoded
    write_model(path, matrix(128, seed=1))
    run_id = night.run(*settings, stages=LISTED[1:])
    assert night.stage(run_id, "extract")["details"]["decoded"] == "0"
    searched = night.stage(run_id, "neighbours")["details"]
    assert searched["features"] == searched["spectrogram"] == "unchanged"
    assert "unchanged" not in (searched["encoder"], searched["hybrid"])
    run_id = night.run(*settings, stages=LISTED[3:])
    assert night.stage(run_id, "embed")["status"] == night.stage(run_id, "recommend")["status"] == "unchanged"

    night.run(stages=LISTED[3:])  # without it, the tables are as if it had never been
    assert {row["space"] for row in night.rows("embeddings")} == {"features", "spectrogram", "hybrid"}
    assert {row["space"] for row in night.rows("neighbours")} == {"features", "spectrogram", "hybrid"}
    assert {row["system"] for row in night.rows("recommendations")} == {"features", "spectrogram", "hybrid"}
    assert night.rows("embeddings", without=())[0].keys() == before[0].keys()


def test_a_track_that_a_model_failed_of_stays_in_the_other_lists(first_night: Night, spark: SparkSession) -> None:
    weights = "embedding.hybrid_weights={features: 1, own: 1}"
    config = first_night.config("embedding.models={own: {path: own.onnx}}", weights)
    tables = {
        name: spark.read.format("delta").load(f"{first_night.warehouse}/{name}")
        for name in ("audio_features", "embeddings", "tracks")
    }
    embeddings = tables["embeddings"]
    lost = first_night.rows("tracks")[3]["track_id"]
    heard = embeddings.where((F.col("space") == "features") & (F.col("track_id") != lost))
    tables["embeddings"] = embeddings.unionByName(heard.withColumn("space", F.lit("own")))
    explainer = explainer_of(config, Artefact("catalogue_statistics", 1, {}, 0))
    profile = profiles(tables, profile_of(explainer, config.systems))
    rows = profile.select("track_id", "vector_features", "vector_own").collect()
    assert len(rows) == tables["audio_features"].count()
    assert [row.track_id for row in rows if row.vector_own is None] == [lost]
    assert all(row.vector_own == row.vector_features for row in rows if row.track_id != lost)


def _check_parts(night: Night, rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    """The parts of a score are its models' too; `rows` are those of ``embeddings``, by space and track."""
    for row in night.rows("recommendations"):
        parts = {reason["family"]: reason["contribution"] for reason in row["reasons"]}
        assert sum(parts.values()) == pytest.approx(row["score"], abs=1e-6)
        if row["system"] == "hybrid":
            for name in ("encoder", "heard"):
                a, b = (np.array(rows[name, row[of]]["vector"]) for of in ("track_id", "recommended_track_id"))
                cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
                assert parts[name] == pytest.approx(SHARES[name] * cosine, abs=1e-5)


def _check_tags(night: Night, taught: Taught) -> None:
    """A tag that both have and few others is told; what all have is not."""
    sentences = []
    for row in night.rows("recommendations"):
        told = {reason["statement"] for reason in row["reasons"] if reason["family"] == "heard"}
        both = taught.tags(row["track_id"]) & taught.tags(row["recommended_track_id"]) - {TAGS[-1]}
        if row["system"] in ("heard", "hybrid") and both:
            words = f"both tagged {both.pop()} (by the model heard)"
            assert told == {words}
            sentences += [row["explanation"]] if words in row["explanation"] else []
        else:
            assert not any("tagged" in statement for statement in told)
    assert len(sentences) > 24


def _ask(night: Night, settings: tuple[str, ...], folder: Path) -> None:
    """Songs of the catalogue find themselves and then their lists, by models that hear the audio too."""
    config = night.config(*settings)
    uris = {row["audio_uri"]: row["track_id"] for row in night.rows("tracks")[::9]}
    write_csv(folder / "songs.csv", [{"audio": f"songs/{Path(uri).name}"} for uri in uris])
    shutil.copytree(Path(next(iter(uris))).parent, folder / "songs")
    (folder / "songs" / "text.wav").write_text("no music")
    answers = {}
    with Analyst(config.audio, config.extract) as analyst:
        for system in ("heard", "hybrid"):
            answers[system] = dict(query([*uris, str(folder / "songs" / "text.wav")], config, analyst, system, 5))
    for system, asked in answers.items():
        lists: dict[str, list[dict[str, object]]] = {}
        for row in sorted(night.rows("recommendations"), key=lambda row: row["rank"]):
            if row["system"] == system:
                lists.setdefault(row["track_id"], []).append(row)
        assert asked.pop(str(folder / "songs" / "text.wav")).code == "undecodable"
        for uri, answer in asked.items():
            first, *rest = answer.recommendations
            assert first["recommended_track_id"] == uris[uri]
            assert first["score"] == pytest.approx(1, abs=1e-6)
            told = ("recommended_track_id", "explanation")
            assert [[row[of] for of in told] for row in rest] == [
                [row[of] for of in told] for row in lists[uris[uri]][:4]
            ]
    assert query_many(config, str(folder / "songs.csv"), f"{folder}/found", "hybrid", 5) == (len(uris), 0)
    found = Reader(f"{folder}/found", config.storage).rows("lists")
    assert len(found) == 5 * len(uris)
    for row in found:
        answer = next(asked[uri] for uri in uris if Path(uri).name == Path(row["audio_uri"]).name)
        alone = answer.recommendations[row["rank"] - 1]
        assert [row[of] for of in told] == [alone[of] for of in told]
        assert row["score"] == pytest.approx(alone["score"], abs=1e-6)
