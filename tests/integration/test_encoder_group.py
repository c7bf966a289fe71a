"""Training by a group of processes that Spark starts."""

from __future__ import annotations

import json

import onnxruntime
import pytest
from spectrograms import some_tracks, write_warehouse

from specrec.config import load
from specrec.encoder.command import CARD, MODEL, train_encoder

pytest.importorskip("torch", reason="pip install 'specrec[train]'")


@pytest.mark.slow
def test_two_processes_train_one_encoder(spark, tmp_path):
    del spark  # the session that train_encoder finds
    audio_hash = load(None, ["warehouse=w"], needs_catalogue=False).audio_hash
    write_warehouse(tmp_path / "w", some_tracks(24), audio_hash=audio_hash)
    options = ("patch_frames=32", "epochs=3", "threads=1", "batch_size=8", "held_out_share=0.3")
    config = load(None, [f"warehouse={tmp_path / 'w'}", *(f"encoder.{o}" for o in options)], needs_catalogue=False)
    card = train_encoder(config, tmp_path / "encoder", workers=2)
    assert card == json.loads((tmp_path / "encoder" / CARD).read_text())
    assert len(card["training"]["losses"]) == 3
    assert card["training"]["losses"][-1] < card["training"]["losses"][0]
    assert onnxruntime.InferenceSession(tmp_path / "encoder" / MODEL).get_outputs()[0].shape[1] == 256
