"""Small models in ONNX, for the tests: the mean of a mel spectrogram over time, times a matrix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def matrix(n_mels: int, dimensions: int = 6, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n_mels, dimensions)).astype(np.float32)


def write_model(
    path: Path,
    weights: NDArray[np.float32],
    *,
    audio: dict[str, Any] | None = None,
    rank: int = 2,
    tags: list[str] | None = None,
    scores: bool = True,
) -> Path:
    """Write a model whose output is ``mel.mean(axis=frames) @ weights``; of rank 3, the same for each frame.

    `tags` are the names of the model's second output, the sigmoid of the first; with `scores` off it has none.
    """
    n_mels = len(weights)
    axes = numpy_helper.from_array(np.array([2], np.int64), "axes")
    nodes = [
        helper.make_node("ReduceMean", ["mel", "axes"], ["level"], keepdims=0),
        helper.make_node("MatMul", ["level", "weights"], ["vector"]),
    ]
    if rank == 3:
        nodes = [
            helper.make_node("Transpose", ["mel"], ["by_frame"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["by_frame", "weights"], ["vector"]),
        ]
    if tags and scores:
        nodes.append(helper.make_node("Sigmoid", ["vector"], ["tags"]))
    shape = ["batch", weights.shape[1]] if rank == 2 else ["batch", "frames", weights.shape[1]]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", n_mels, "frames"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name in ("vector", *(["tags"] if tags and scores else []))
        ],
        [numpy_helper.from_array(weights, "weights")] + ([axes] if rank == 2 else []),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    said = {"audio": audio, "tags": tags}
    helper.set_model_props(model, {name: json.dumps(value) for name, value in said.items() if value is not None})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
