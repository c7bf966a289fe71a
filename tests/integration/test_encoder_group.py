"""Training by a group of processes that Spark starts."""

from __future__ import annotations

import json

import onnxruntime
import pytest
from spectrograms import some_tracks, write_warehouse

from specrec.config import load
from specrec.encoder.make import CARD, MODEL
from specrec.encoder.spark import check_executors
from specrec.errors import SpecrecError
from specrec.pipeline.train_encoder import train_encoder

pytest.importorskip("torch", reason="pip install 'specrec[train]'")


def test_executors_without_pytorch_are_told_in_one_line(spark):
    check_executors(spark, ["torch", "deltalake"])
    with pytest.raises(
        SpecrecError, match=r"^the executors lack no_such_module, .* `deploy/pack\.py --train` packs$"
    ):
        check_executors(spark, ["torch", "no_such_module"])


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "epochs", "patience"), [("contrastive", 3, 20), ("autoencoder", 8, 1)])
def test_two_processes_train_one_encoder(spark, tmp_path, architecture, epochs, patience):
    """And end together, though the statistics of their batches differ."""
    del spark  # the session that train_encoder finds
    audio_hash = load(None, ["warehouse=w"], needs_catalogue=False).audio_hash.current
    write_warehouse(tmp_path / "w", some_tracks(24), audio_hash=audio_hash)
    chosen = (f"architecture={architecture}", f"epochs={epochs}", f"patience={patience}", "learning_rate=0.003")
    options = (*chosen, "patch_frames=32", "threads=1", "batch_size=8", "held_out_share=0.3")
    config = load(None, [f"warehouse={tmp_path / 'w'}", *(f"encoder.{o}" for o in options)], needs_catalogue=False)
    card = train_encoder(config, tmp_path / "encoder", workers=2)
    assert card == json.loads((tmp_path / "encoder" / CARD).read_text())
    training = card["training"]
    assert len(training["losses"]) == training["epochs"]
    if architecture == "contrastive":
        assert training["epochs"] == epochs
        assert training["losses"][-1] < training["losses"][0]
    else:
        assert training["epochs"] == min(training["best_epoch"] + patience, epochs)
        judged = [training["held_out_loss_at_start"], *training["held_out_losses"]]
        assert judged[training["kept_epoch"]] == min(judged)
    assert onnxruntime.InferenceSession(tmp_path / "encoder" / MODEL).get_outputs()[0].shape[1] == 256
