"""A model in ONNX as a further system: made, told, made anew without decoding, and taken away."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from nights import LISTED, Night, untrue
from onnx_models import matrix, write_model

from specrec.audio.mel import decode_mel
from specrec.audio.model_mel import measure

WEIGHTS = "embedding.hybrid_weights={features: 0.5, spectrogram: 0.2, encoder: 0.3}"


def test_a_model_is_a_further_system(second_night: Night, tmp_path: Path) -> None:
    night = second_night
    weights = matrix(128)
    path = write_model(tmp_path / "encoder.onnx", weights)
    # a second one that hears another mel spectrogram, and so the audio itself
    own = write_model(tmp_path / "own.onnx", matrix(40))
    mel = "{sample_rate: 16000, n_fft: 512, hop_length: 256, n_mels: 40, scaling: log_10000}"
    settings = (f"embedding.models={{encoder: {{path: {path}}}, heard: {{path: {own}, mel: {mel}}}}}", WEIGHTS)
    before = night.rows("embeddings", without=())
    run_id = night.run(*settings, stages=LISTED)
    assert night.stage(run_id, "extract")["details"]["decoded"] == "0"
    assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] in night.stage(run_id, "embed")["details"]["encoder"]

    rows = {(row["space"], row["track_id"]): row for row in night.rows("embeddings")}
    for mel in night.rows("mel_spectrograms"):
        unit = decode_mel(mel["mel"], mel["n_mels"], mel["n_frames"]) / 80 + 1
        row = rows["encoder", mel["track_id"]]
        np.testing.assert_allclose(row["vector"], unit.clip(0, 1).mean(axis=1) @ weights, rtol=1e-3, atol=1e-4)
        assert row["model_hash"] == hashlib.sha256(path.read_bytes()).hexdigest()
        hybrid, cosines = np.array(rows["hybrid", mel["track_id"]]["vector"]), []
        for space in ("features", "spectrogram", "encoder"):
            part, hybrid = np.split(hybrid, [len(rows[space, mel["track_id"]]["vector"])])
            own = np.array(rows[space, mel["track_id"]]["vector"])
            cosines.append(part @ own / np.linalg.norm(own))
        np.testing.assert_allclose(np.square(cosines), [0.5, 0.2, 0.3], rtol=1e-4)
    kept = [row for row in night.rows("embeddings", without=()) if row["space"] in ("features", "spectrogram")]
    assert kept == [row for row in before if row["space"] != "hybrid"]

    for track in night.rows("tracks")[::8]:
        heard = measure(
            Path(track["audio_uri"]).read_bytes(),
            night.config().audio,
            night.config(*settings).embedding.models["heard"].mel,
        )
        vector = rows["heard", track["track_id"]]["vector"]
        np.testing.assert_allclose(vector, heard.mel.mean(axis=1) @ matrix(40), rtol=1e-3, atol=1e-4)

    lists = [row["system"] for row in night.rows("recommendations")]
    assert lists.count("encoder") == lists.count("heard") == 24 * 10
    for row in night.rows("recommendations"):
        parts = {reason["family"]: reason["contribution"] for reason in row["reasons"]}
        assert sum(parts.values()) == pytest.approx(row["score"], abs=1e-6)
        if row["system"] == "hybrid":
            a, b = (np.array(rows["encoder", row[name]]["vector"]) for name in ("track_id", "recommended_track_id"))
            cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
            assert parts["encoder"] == pytest.approx(0.3 * cosine, abs=1e-5)
    assert untrue(night) == []

    # another model under the same name: its vectors and the hybrid's are made anew, and nothing is decoded
    write_model(path, matrix(128, seed=1))
    run_id = night.run(*settings, stages=LISTED)
    assert night.stage(run_id, "extract")["details"]["decoded"] == "0"
    searched = night.stage(run_id, "neighbours")["details"]
    assert searched["features"] == searched["spectrogram"] == "unchanged"
    assert "unchanged" not in (searched["encoder"], searched["hybrid"])
    run_id = night.run(*settings, stages=LISTED)
    assert night.stage(run_id, "embed")["status"] == night.stage(run_id, "recommend")["status"] == "unchanged"

    night.run(stages=LISTED)  # without it, the tables are as if it had never been
    assert {row["space"] for row in night.rows("embeddings")} == {"features", "spectrogram", "hybrid"}
    assert {row["space"] for row in night.rows("neighbours")} == {"features", "spectrogram", "hybrid"}
    assert {row["system"] for row in night.rows("recommendations")} == {"features", "spectrogram", "hybrid"}
    assert night.rows("embeddings", without=())[0].keys() == before[0].keys()
