"""The converter reads TensorFlow's checkpoints, and its graph computes what musicnn's layers say."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view

SCRIPT = Path(__file__).parents[2] / "deploy" / "convert_musicnn.py"
WHEEL = os.environ.get("MUSICNN_WHEEL", "")

KERNELS = [(7, 38, 1, 204), (7, 67, 1, 204), (128, 1, 1, 51), (64, 1, 1, 51), (32, 1, 1, 51),
           (7, 561, 1, 64), (7, 64, 1, 64), (7, 64, 1, 64)]  # fmt: skip


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("convert_musicnn", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Weights of musicnn's shapes, at random."""
    draw = np.random.default_rng(0)
    found = {}

    def layer(name, shape):
        found[f"{name}/kernel"] = draw.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        found[f"{name}/bias"] = 0.1 * draw.standard_normal(shape[-1])

    def norm(number, size):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        found[f"{name}/gamma"] = draw.uniform(-1, 2, size)  # some below 0: the order of norm and maximum matters
        found[f"{name}/beta"] = 0.1 * draw.standard_normal(size)
        found[f"{name}/moving_mean"] = 0.1 * draw.standard_normal(size)
        found[f"{name}/moving_variance"] = draw.uniform(0.001, 2, size)

    norm(0, 1)
    for number, shape in enumerate(KERNELS):
        layer(f"conv2d_{number}" if number else "conv2d", shape)
        norm(number + 1, shape[-1])
    norm(9, 2 * 753)
    layer("dense", (2 * 753, 200))
    norm(10, 200)
    layer("dense_1", (200, 50))
    return {name: value.astype(np.float32) for name, value in found.items()}


def _musicnn(x: np.ndarray, w: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """One patch through musicnn in NumPy, laid out as the package does: x has shape (frames, bands)."""
    w = {name: value.astype(float) for name, value in w.items()}

    def norm(y, number):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        scale = w[f"{name}/gamma"] / np.sqrt(w[f"{name}/moving_variance"] + 0.001)
        return (y - w[f"{name}/moving_mean"]) * scale + w[f"{name}/beta"]

    def conv(y, number):
        name = f"conv2d_{number}" if number else "conv2d"
        kernel = w[f"{name}/kernel"][:, :, 0]
        windows = sliding_window_view(y, kernel.shape[:2])
        z = np.tensordot(windows, kernel, ((2, 3), (0, 1))) + w[f"{name}/bias"]
        return norm(np.maximum(z, 0), number + 1)

    x = norm(x, 0)
    around = np.pad(x, ((3, 3), (0, 0)))
    parts = [conv(around, 0), conv(around, 1)]
    for number, before in ((2, 63), (3, 31), (4, 15)):  # "same": the larger half of the zeros comes last
        parts.append(conv(np.pad(x, ((before, before + 1), (0, 0))), number))
    front = np.concatenate([part.max(axis=1) for part in parts], axis=1)
    first = conv(np.pad(front, ((3, 3), (0, 0))), 5)[:, 0]
    second = conv(np.pad(first, ((3, 3), (0, 0))), 6)[:, 0] + first
    third = conv(np.pad(second, ((3, 3), (0, 0))), 7)[:, 0] + second
    every = np.concatenate([front, first, second, third], axis=1)
    flat = norm(np.stack([every.max(axis=0), every.mean(axis=0)], axis=1).ravel(), 9)
    vector = norm(np.maximum(flat @ w["dense/kernel"] + w["dense/bias"], 0), 10)
    return vector, 1 / (1 + np.exp(-(vector @ w["dense_1/kernel"] + w["dense_1/bias"])))


@pytest.mark.parametrize("frames", [187, 40])
def test_the_graph_computes_what_the_layers_say(script, weights, frames):
    model = script.build(weights, [f"tag {number}" for number in range(50)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    patches = np.random.default_rng(1).uniform(0, 4, (2, 96, frames)).astype(np.float32)

    vectors, tags = session.run(["vector", "tags"], {session.get_inputs()[0].name: patches})

    assert [output.name for output in session.get_outputs()] == ["vector", "tags"]
    for patch, vector, scores in zip(patches, vectors, tags, strict=True):
        expected, probabilities = _musicnn(patch.T, weights)
        np.testing.assert_allclose(vector, expected, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(scores, probabilities, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A block of a LevelDB table, keys sharing what they begin with."""
    out, last = b"", b""
    for key, value in entries:
        differ = (at for at, (one, other) in enumerate(zip(key, last, strict=False)) if one != other)
        shared = next(differ, min(len(key), len(last)))
        own = key[shared:]
        out += _varint(shared) + _varint(len(own)) + _varint(len(value)) + own + value
        last = key
    return out + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def _checkpoint(variables: dict[str, np.ndarray], compressed: bool = False) -> tuple[bytes, bytes]:
    data, entries = b"", [(b"", b"\x08\x01")]
    for name, value in sorted(variables.items()):
        raw = value.tobytes()
        sizes = b"".join(
            b"\x12" + _varint(len(size)) + size for size in (b"\x08" + _varint(n) for n in value.shape)
        )
        kind = b"\x08\x01" if value.dtype == np.float32 else b"\x08\x03"
        shape = b"\x12" + _varint(len(sizes)) + sizes
        offset = b"\x20" + _varint(len(data)) if data else b""  # protobuf leaves out zeros
        entries.append((name.encode(), kind + shape + offset + b"\x28" + _varint(len(raw)) + b"\x35\1\2\3\4"))
        data += raw
    trailer = bytes([compressed]) + bytes(4)
    index, handles = b"", []
    for start in range(0, len(entries), 3):  # several blocks
        block = _block(entries[start : start + 3])
        handles.append((entries[min(start + 2, len(entries) - 1)][0], _varint(len(index)) + _varint(len(block))))
        index += block + trailer
    top = _block(handles)
    footer = _varint(0) + _varint(0) + _varint(len(index)) + _varint(len(top))
    return index + top + trailer + footer.ljust(40, b"\0") + bytes(8), data


def test_checkpoints_are_read(script):
    draw = np.random.default_rng(2)
    shapes = {"dense/kernel": (300, 7), "dense/bias": (7,), "dense_1/bias": (2,), "power": ()}
    variables = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    index, data = _checkpoint(variables | {"global_step": np.array(3, np.int32)})
    read = script.read_checkpoint(index, data)
    assert read.keys() == variables.keys()
    for name, value in variables.items():
        np.testing.assert_array_equal(read[name], value, strict=True)


def test_a_compressed_checkpoint_is_refused(script):
    with pytest.raises(ValueError, match="compressed"):
        script.read_checkpoint(*_checkpoint({"bias": np.ones(2, np.float32)}, compressed=True))


def test_tags_are_read_and_nothing_is_run(script):
    source = "import os\nos.abort()\nA_LABELS = ['rock', 'no vocals']\n"
    assert script.read_tags(source, "A_LABELS") == ["rock", "no vocals"]


@pytest.mark.skipif(not WHEEL, reason="MUSICNN_WHEEL names no wheel of musicnn")
@pytest.mark.parametrize("model", ["MTT_musicnn", "MSD_musicnn"])
def test_the_packages_own_weights(script, model, tmp_path):
    from click.testing import CliRunner

    out = tmp_path / "musicnn.onnx"
    done = CliRunner().invoke(script.main, [str(out), "--model", model, "--wheel", WHEEL])
    assert done.exit_code == 0, done.output
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    vector, tags = session.run(None, {"input": np.zeros((1, 96, 187), np.float32)})
    assert vector.shape == (1, 200)
    assert tags.shape == (1, len(json.loads(properties["tags"]))) == (1, 50)
    assert "Permission to use, copy" in properties["licence"]
