"""Convert a pretrained model of the `musicnn` package to ONNX, to be a space of its own: `embedding.models`.

    pip install --group musicnn
    python deploy/convert_musicnn.py musicnn.onnx

The weights (ISC licence; Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio
tagging", 2019) are downloaded from PyPI by pip and are no part of this project. TensorFlow is not needed: its
checkpoint is read here, and the graph is built anew.

Input: float32 (batch, 96 mel bands, frames), log10(1 + 10000 x) of a mel power spectrogram at 16 kHz. Outputs:
`vector`, float32 (batch, 200), the penultimate layer; `tags`, float32 (batch, 50), probabilities, whose names are
in the metadata property `tags`. The model was trained on 187 frames, 3 s, and pools over time whatever there is:
run on whole clips it finds more tracks of a genre than the mean over patches does, and costs half as much.
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

WHEEL = "musicnn-0.1.0-py3-none-any.whl"
SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
MODELS = ("MTT_musicnn", "MSD_musicnn")  # trained on MagnaTagATune, on the Million Song Dataset

N_MELS = 96
OPSET, IR_VERSION = 17, 8
_EPSILON = 0.001  # of tf.layers.batch_normalization

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", type=click.Choice(MODELS), default=MODELS[0], show_default=True, help="Which weights.")
@click.option("--wheel", type=click.Path(exists=True, path_type=Path), help=f"A {WHEEL} that is here already.")
def main(out: Path, model: str, wheel: Path | None) -> None:
    """Write the model to OUT, and print how it is configured."""
    with tempfile.TemporaryDirectory() as folder:
        path = wheel or _download(Path(folder))
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise click.ClickException(
                f"{path.name} is not the {WHEEL} that this was written for: get it from PyPI"
            )
        with zipfile.ZipFile(path) as package:
            weights = read_checkpoint(
                package.read(f"musicnn/{model}/.index"), package.read(f"musicnn/{model}/.data-00000-of-00001")
            )
            tags = read_tags(package.read("musicnn/configuration.py").decode(), f"{model[:3]}_LABELS")
            licence = package.read("musicnn-0.1.0.dist-info/LICENSE.md").decode()
    graph = build(weights, tags)
    helper.set_model_props(graph, {"tags": json.dumps(tags), "source": f"{WHEEL}, {model}", "licence": licence})
    onnx.save(graph, out)
    click.echo(
        f"""{out} is written. In the configuration:

embedding:
  models:
    musicnn:
      path: {out}
      mel: {{sample_rate: 16000, n_fft: 512, hop_length: 256, n_mels: {N_MELS}, scaling: log_10000}}"""
    )


def _download(folder: Path) -> Path:
    # not installed: the package wants a numpy of 2019
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    if subprocess.run([*command, "musicnn==0.1.0"], check=False).returncode:  # noqa: S603 - pip
        raise click.ClickException(f"pip could not download musicnn: get {WHEEL} from PyPI, and give it as --wheel")
    return folder / WHEEL


def read_tags(source: str, name: str) -> list[str]:
    """Return the list of strings that a Python source assigns to `name`, without running it."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return [str(tag) for tag in ast.literal_eval(node.value)]
    raise click.ClickException(f"the package names no {name}")


def read_checkpoint(index: bytes, data: bytes) -> dict[str, Array]:
    """Return the float32 variables of a TensorFlow checkpoint of one shard, by name.

    The index is a table of LevelDB, from a variable's name to a BundleEntryProto that says where it lies in the
    data: tensorflow/core/protobuf/tensor_bundle.proto, leveldb's doc/table_format.md.

    Raises
    ------
    ValueError
        If a block is compressed, which TensorFlow's are not.
    """
    footer = index[-48:]
    _, at = _varint(footer, 0)
    _, at = _varint(footer, at)  # two numbers that locate the metaindex, which is empty
    variables = {}
    for _, block in _entries(index, footer[at:]):
        for name, entry in _entries(index, block):
            fields = _fields(entry)
            if not name or fields[1] != 1:  # the header, or no DT_FLOAT
                continue
            shape = [_fields(size).get(1, 0) for number, size in _pairs(fields[2]) if number == 2]
            start, size = fields.get(4, 0), fields[5]
            variables[name.decode()] = np.frombuffer(data[start : start + size], "<f4").reshape(shape)
    return variables


def _entries(table: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of the block of a table that lies at a handle."""
    offset, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    if table[offset + size]:
        raise ValueError("the checkpoint's index is compressed")
    block = table[offset : offset + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")  # before the restart points and their count
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


def _fields(message: bytes) -> dict[int, int | bytes]:
    return dict(_pairs(message))


def _pairs(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message: their numbers, and integers or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        size = 4
        if tag & 7 == 2:
            size, at = _varint(message, at)
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def build(weights: Weights, tags: list[str]) -> onnx.ModelProto:
    """Build musicnn: a front end of timbral and temporal filters, three dense layers, pooling over time.

    Parameters
    ----------
    weights : variables of the checkpoint, kernels in TensorFlow's order (time, frequency, channels, filters).
    tags : names of the last layer's outputs.

    Returns
    -------
    onnx.ModelProto, of any number of frames.
    """
    net = _Net(weights)
    x = net.norm("mel", "batch_normalization")
    # what sounds at one time: filters of a part of the bands, wherever it lies; and what moves in single bands
    front_end = net.add("Concat", [net.front(x, layer) for layer in range(5)], axis=1)
    first = net.middle(front_end, 5)
    second = net.add("Add", [net.middle(first, 6), first])
    third = net.add("Add", [net.middle(second, 7), second])
    every = net.add("Concat", [front_end, first, second, third], axis=1)
    pools = [net.add(pool, [every], axes=[2], keepdims=1) for pool in ("ReduceMax", "ReduceMean")]
    flat = net.norm(net.add("Flatten", [net.add("Concat", pools, axis=2)]), "batch_normalization_9")
    net.norm(net.add("Relu", [net.dense(flat, "dense")]), "batch_normalization_10", out="vector")
    net.add("Sigmoid", [net.dense("vector", "dense_1")], out="tags")

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    units = weights["dense/bias"].size
    graph = helper.make_graph(
        net.nodes,
        "musicnn",
        [value("input", N_MELS, "frames")],
        [value("vector", units), value("tags", len(tags))],
        net.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="specrec"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Net:
    """Nodes and constants of a graph that grows, with the layers of musicnn."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.constants: list[TensorProto] = []
        self.nodes = [helper.make_node("Unsqueeze", ["input", self.constant("axis", np.array([1]))], ["mel"])]

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], out: str | None = None, **attributes: object) -> str:
        name = out or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def norm(self, x: str, name: str, out: str | None = None) -> str:
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        values = [self.constant(f"{name}/{part}", self.weights[f"{name}/{part}"]) for part in parts]
        return self.add("BatchNormalization", [x, *values], out, epsilon=_EPSILON)

    def dense(self, x: str, name: str) -> str:
        parts = [self.constant(f"{name}/{part}", self.weights[f"{name}/{part}"]) for part in ("kernel", "bias")]
        return self.add("Gemm", [x, *parts])

    def front(self, x: str, layer: int) -> str:
        """Convolve bands and frames, and keep the strongest band: (batch, filters, frames).

        The strongest after ReLU and norm, neither of which changes the order of the bands, is the greatest before,
        or the least where gamma is negative. So both are done on one band and not on all.
        """
        name = _numbered("conv2d", layer)
        sign = np.where(self.weights[f"batch_normalization_{layer + 1}/gamma"] < 0, -1, 1).astype(np.float32)
        kernel = (self.weights[f"{name}/kernel"] * sign).transpose(3, 2, 1, 0)
        before = (kernel.shape[3] - 1) // 2  # "same", of which TensorFlow gives the end the larger half
        pads = [0, before, 0, kernel.shape[3] - 1 - before]
        bands = self.convolve(x, name, kernel, self.weights[f"{name}/bias"] * sign, pads)
        greatest = self.add("ReduceMax", [bands], axes=[2], keepdims=0)
        strongest = self.add("Mul", [greatest, self.constant(f"{name}/sign", sign[:, None])])
        return self.norm(self.add("Relu", [strongest]), f"batch_normalization_{layer + 1}")

    def middle(self, x: str, layer: int) -> str:
        """Convolve over 7 frames of all channels: (batch, filters, frames)."""
        name = _numbered("conv2d", layer)
        kernel = self.weights[f"{name}/kernel"][:, :, 0].transpose(2, 1, 0)
        y = self.convolve(x, name, kernel, self.weights[f"{name}/bias"], [3, 3])
        return self.norm(self.add("Relu", [y]), f"batch_normalization_{layer + 1}")

    def convolve(self, x: str, name: str, kernel: Array, bias: Array, pads: list[int]) -> str:
        values = [self.constant(f"{name}/kernel", kernel), self.constant(f"{name}/bias", bias)]
        return self.add("Conv", [x, *values], pads=pads)


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


if __name__ == "__main__":
    main()
