"""Export to ONNX, as ``embedding.models`` takes it, and the check that it gives what PyTorch gives."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from specrec.arrays import Float32Array
from specrec.embedding.models import PATCH_FRAMES
from specrec.encoder.networks import Autoencoder, Contrastive
from specrec.errors import SpecrecError

#: How much a value of ONNX Runtime may differ from PyTorch's.
PARITY = 1e-4
_OPSET = 17
_LEAST_FRAMES = 43  # a second


def export(
    network: Autoencoder | Contrastive, path: Path, patch_frames: int, metadata: Mapping[str, str] | None = None
) -> float:
    """Write an encoder as ONNX: ``mel`` float32 (batch, n_mels, n_frames) to ``embedding`` (batch, dimensions).

    The batch is of any size. A contrastive encoder takes any number of frames, and serves whole clips best; an
    autoencoder, which has frames as channels, takes `patch_frames`, which is then a property of the file.

    Parameters
    ----------
    patch_frames : int
        How many it was trained on.
    metadata : mapping of str to str or None
        Further properties.

    Returns
    -------
    float
        The greatest difference of a value from PyTorch's, over batches and frames of several sizes.

    Raises
    ------
    SpecrecError
        If they differ by more than :data:`PARITY`; nothing is written.
    """
    network = network.cpu().to(memory_format=torch.contiguous_format).eval()
    of_any = isinstance(network, Contrastive)
    axes = {"mel": {0: "batch"} | ({2: "frames"} if of_any else {}), "embedding": {0: "batch"}}
    written = io.BytesIO()
    with _quiet():
        torch.onnx.export(
            network,
            (torch.zeros(2, network.n_mels, patch_frames),),
            written,
            input_names=["mel"],
            output_names=["embedding"],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,  # the newer exporter needs onnxscript, and its files are no smaller or faster
        )
    model = onnx.load_from_string(written.getvalue())
    properties = {"n_mels": str(network.n_mels)} | dict(metadata or {})
    if not of_any:
        properties[PATCH_FRAMES] = json.dumps(patch_frames)
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    frames = (patch_frames, _LEAST_FRAMES, 3 * patch_frames + 1) if of_any else (patch_frames,)
    difference = max(_difference(network, data, batch, of) for batch in (1, 3) for of in frames)
    if not difference <= PARITY:
        raise SpecrecError(f"the exported encoder differs from PyTorch's by {difference:.2g}, more than {PARITY:g}")
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)
    return difference


def open_session(model: bytes | str | os.PathLike[str]) -> onnxruntime.InferenceSession:
    """Open a model for one thread of the CPU, as the job runs it.

    Examples
    --------
    >>> from specrec.embedding.models import ENCODER
    >>> [(of.name, of.shape) for of in open_session(ENCODER.read_bytes()).get_outputs()]
    [('embedding', ['batch', 256])]
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _difference(network: Autoencoder | Contrastive, data: bytes, batch: int, frames: int) -> float:
    random = np.random.default_rng(frames)
    mels: Float32Array = random.random((batch, network.n_mels, frames), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(mels)).numpy()
    (found,) = open_session(data).run(None, {"mel": mels})
    return float(np.abs(found - expected).max())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter says of its own future."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
