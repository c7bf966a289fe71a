"""A model with a mel spectrogram of its own, in Spark: vectors do not depend on how the work is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from nights import Night
from onnx import TensorProto, helper
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from specrec.audio.config import ModelMelConfig
from specrec.audio.model_mel import measure
from specrec.audio.spark import by_file
from specrec.embedding.models import Model
from specrec.embedding.spark import HEARD, embed_audio
from specrec.storage import locate

MEL = ModelMelConfig(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=40, scaling="db")


def _mean_of_bands() -> bytes:
    node = helper.make_node("ReduceMean", ["mel"], ["vector"], axes=[2], keepdims=0)
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", "bands", "frames"])
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", "bands"])
    graph = helper.make_graph([node], "bands", [mel], [vector])
    return onnx.helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def test_tracks_get_vectors_of_the_mel_spectrogram_that_the_model_wants(
    spark: SparkSession, rendered: Path, tmp_path: Path
) -> None:
    config = Night("nowhere", "nowhere").config()
    good = sorted((rendered / "audio").iterdir())[:6]
    (tmp_path / "text.mp3").write_text("no music")
    paths = [*good, good[0], tmp_path / "text.mp3", tmp_path / "gone.mp3"]
    rows = [(f"{number:02}", str(path), "one") for number, path in enumerate(paths)]
    files = by_file(spark.createDataFrame(rows, "track_id string, audio_uri string, audio_fingerprint string"))
    model = spark.sparkContext.broadcast(Model("bands", _mean_of_bands(), mel=MEL))

    cut = [embed_audio(files, config, model, tasks, locate("/")).sort("track_id").collect() for tasks in (1, 3)]

    assert embed_audio(files, config, model, 1, locate("/")).schema == HEARD
    assert cut[0] == cut[1]
    assert [row.track_id for row in cut[0]] == [track_id for track_id, _, _ in rows]
    for row, path in zip(cut[0], good, strict=False):
        heard = measure(path.read_bytes(), config.audio, MEL)
        np.testing.assert_allclose(row.vector, heard.mel.mean(axis=1), rtol=1e-4)
        assert row.content_hash == heard.content_hash
        assert row.code is row.tags is None
    assert cut[0][6].vector == cut[0][0].vector  # two tracks of one file
    assert [row.code for row in cut[0][7:]] == ["undecodable", "not_found"]
    assert files.where(F.size("track_ids") == 2).count() == 1
