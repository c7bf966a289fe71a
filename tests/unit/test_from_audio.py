"""Vectors made of audio by a model with a mel spectrogram of its own: in the workers' own code, without Spark."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import soundfile
from onnx import TensorProto, helper
from pyspark import Broadcast

from specrec.audio.config import ModelMelConfig
from specrec.audio.model_mel import measure
from specrec.config import Config, load
from specrec.embedding.models import MOST_TAGS, Model, outputs, patches_of
from specrec.embedding.spark import HEARD, _embedder
from specrec.storage import Location

PLANTED = Path(__file__).parents[1] / "planted"
MEL = ModelMelConfig(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=8, scaling="log_10000")


def _model(*, tags: bool = True, invert: bool = False) -> bytes:
    """A model whose vector is the mean of each band, and whose one tag is the sigmoid of the loudest value."""
    nodes = [helper.make_node("ReduceMean", ["mel"], ["vector"], axes=[2], keepdims=0)]
    outs = [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", "bands"])]
    if invert:  # log of a negative number
        nodes[0].output[0] = "mean"
        nodes += [
            helper.make_node("Neg", ["mean"], ["negative"]),
            helper.make_node("Log", ["negative"], ["vector"]),
        ]
    if tags:
        nodes.append(helper.make_node("ReduceMax", ["mel"], ["loudest"], axes=[2], keepdims=0))
        nodes.append(helper.make_node("Sigmoid", ["loudest"], ["tags"]))
        outs.append(helper.make_tensor_value_info("tags", TensorProto.FLOAT, ["batch", "bands"]))
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", "bands", "frames"])
    graph = helper.make_graph(nodes, "bands", [mel], outs)
    return onnx.helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for seed in range(3):
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (40_000 + 20_000 * seed, 2))
        soundfile.write(folder / f"{seed}.wav", noise, 22_050)
    for word in ("ABORT", "SLEEP", "EAT"):
        (folder / f"{word}.mp3").write_text(word)
    (folder / "nothing.mp3").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def config() -> Iterator[Config]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLANTED))
        limits = ("extract.time_limit_seconds=6", "extract.memory_limit_mb=450", "extract.batch_rows=2")
        yield load(None, ("warehouse=nowhere", "catalogue.path=nowhere", *limits))


@pytest.fixture
def embed(config: Config, tmp_path: Path) -> Callable[[Model, list[Path]], pd.DataFrame]:
    def run(model: Model, paths: list[Path]) -> pd.DataFrame:
        sent = tmp_path / "broadcast"
        sent.write_bytes(pickle.dumps(model))
        tracks = [[f"{path.stem}-{copy}" for copy in "ab"] for path in paths]
        files = pd.DataFrame({"audio_uri": map(str, paths), "audio_fingerprint": "same", "track_ids": tracks})
        frames = list(_embedder(config, Broadcast(path=str(sent)), Location("/"))(iter([files])))
        assert max(map(len, frames)) <= 2
        assert all(list(frame.columns) == HEARD.fieldNames() for frame in frames)
        return pd.concat(frames).set_index("track_id")

    return run


def test_each_track_gets_its_files_vector_or_what_failed(embed, config: Config, folder: Path) -> None:
    names = tuple(f"band {number}" for number in range(8))
    model = Model("bands", _model(), patch_frames=50, mel=MEL, tags=names)
    rows = embed(model, [*sorted(folder.iterdir()), folder / "gone.mp3"])

    codes = {"ABORT": "crashed_decoder", "SLEEP": "timed_out", "EAT": "out_of_memory", "nothing": "empty",
             "gone": "not_found"}  # fmt: skip
    assert {name: rows.code[f"{name}-a"] for name in codes} == codes
    for seed in range(3):
        path = folder / f"{seed}.wav"
        heard = measure(path.read_bytes(), config.audio, MEL)
        patches = patches_of(heard.mel, 50).astype(float)
        for copy in "ab":
            row = rows.loc[f"{seed}-{copy}"]
            assert row.code is row.message is None
            assert row.content_hash == heard.content_hash
            np.testing.assert_allclose(row.vector, patches.mean(axis=(0, 2)), rtol=1e-5)
            scores = (1 / (1 + np.exp(-patches.max(axis=2)))).mean(axis=0)
            best = np.argsort(-scores)[:MOST_TAGS]
            assert [tag["name"] for tag in row.tags] == [f"band {number}" for number in best]
            np.testing.assert_allclose([tag["score"] for tag in row.tags], scores[best], rtol=1e-5)
    failed = rows[rows.code.notna()]
    assert failed.message.map(bool).all()
    assert failed.vector.isna().all()
    assert failed.content_hash.isna().all()


def test_a_model_without_tags_gives_none(embed, folder: Path) -> None:
    rows = embed(Model("bands", _model(tags=False), mel=MEL), [folder / "0.wav"])
    assert rows.tags.isna().all()
    assert rows.code.isna().all()


def test_a_model_that_fails_of_a_file_costs_that_file_alone(embed, folder: Path) -> None:
    wants_more_bands = onnx.load_from_string(_model())
    wants_more_bands.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9
    for content, code in ((wants_more_bands.SerializeToString(), "failed"), (_model(invert=True), "not_finite")):
        rows = embed(Model("bands", content, mel=MEL), [folder / "0.wav"])
        assert set(rows.code) == {code}
        assert rows.message.str.startswith("0.wav: bands").all()


def test_patches_are_half_a_patch_apart_and_short_clips_are_repeated() -> None:
    mel = np.arange(14, dtype=np.float32).reshape(2, 7)
    vector, tags = outputs(Model("bands", _model(tags=False), patch_frames=4), mel)
    np.testing.assert_allclose(vector, [2.5, 9.5])  # of 0 … 3 and 2 … 5
    assert tags is None
    vector, _ = outputs(Model("bands", _model(), patch_frames=10), mel)
    np.testing.assert_allclose(vector, [(21 + 3) / 10, (70 + 24) / 10])
