"""The files that are compared: a model as exported, and its twins.

monotone    the 40 % of the weights that are smallest, over all layers, are zero: the path-metric is exact.
general     every weight times 1 + 0.05 N(0, 1), then rounded to 8 bits per output channel; the 0.5 % of the
            weights that are smallest change sign, as after fine-tuning.
opposed     the general twin with 1 % of all weights, drawn at random, of the other sign: paths of opposite
            signs are no longer negligible, and the path-metric needs the signed passes too.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import architectures
import numpy as np
import onnx
import torch
from onnx import numpy_helper

KINDS = ("monotone", "general", "opposed")


def files(name: str, folder: Path, kinds: tuple[str, ...] = KINDS) -> dict[str, str]:
    """Paths of the model and its twins, by kind ("original" first); written into `folder` where they are
    missing."""
    paths = {kind: folder / f"{name}-{kind}.onnx" for kind in ("original", *kinds)}
    if not paths["original"].exists():
        export(name, paths["original"])
    missing = [kind for kind in kinds if not paths[kind].exists()]
    for kind in missing:
        proto = onnx.load(paths["original"])
        perturb(proto, kind)
        _save(proto, paths[kind])
    return {kind: str(path) for kind, path in paths.items()}


def export(name: str, path: Path) -> None:
    """The model as torch.onnx.export writes it: opset 17, BatchNormalization folded."""
    model, part = architectures.build(name), path.with_suffix(".part")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter announces its successor
        x = torch.zeros(architectures.input_shape(name))
        torch.onnx.export(
            model, x, str(part), opset_version=17, dynamo=False, input_names=["x"], output_names=["y"]
        )
    os.replace(part, path)


def _save(proto: onnx.ModelProto, path: Path) -> None:
    part = path.with_suffix(".part")
    onnx.save(proto, part)
    os.replace(part, path)


def _weights(proto: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, np.ndarray]]:
    """Every initializer that is a matrix or a kernel, with its value; output channels are axis 0."""
    for tensor in proto.graph.initializer:
        if len(tensor.dims) >= 2:
            yield tensor, numpy_helper.to_array(tensor)


def _smallest(proto: onnx.ModelProto, share: float) -> float:
    """The magnitude that `share` of all weights do not exceed."""
    everything = np.concatenate([np.abs(value).ravel() for _, value in _weights(proto)])
    k = int(share * everything.size)
    return float(np.partition(everything, k)[k])


def perturb(proto: onnx.ModelProto, kind: str) -> None:
    """Turn a model into its twin of that kind, in place."""
    random = np.random.default_rng(0)
    threshold = _smallest(proto, 0.4 if kind == "monotone" else 0.005)
    for tensor, value in _weights(proto):
        small = np.abs(value) < threshold
        if kind == "monotone":
            changed = np.where(small, np.float32(0), value)
        else:
            changed = value * (1 + np.float32(0.05) * random.standard_normal(value.shape, np.float32))
            axes = tuple(range(1, value.ndim))
            step = np.maximum(
                np.abs(changed).max(axis=axes, keepdims=True) / np.float32(127), np.float32(1e-30)
            )
            changed = np.where(small, -value, np.rint(changed / step) * step)
            if kind == "opposed":
                changed[random.random(value.shape, np.float32) < 0.01] *= -1
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed, np.float32), tensor.name))
