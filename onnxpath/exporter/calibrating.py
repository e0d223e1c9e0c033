"""Static quantization by onnxruntime.quantization: QDQ files from calibration inputs.

Every activation that a quantized operator reads or writes gets the range that it had on the calibration
inputs (minimum and maximum), weights get symmetric grids, biases become int32. Files with BatchNormalization
are folded by ONNX Runtime before, so that no quantizer comes between it and its convolution.
"""

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
from onnxruntime.quantization.shape_inference import quant_pre_process

from onnxpath.errors import ModelError
from onnxpath.exporter.quantizing import upgrade
from onnxpath.files.outputs import batches
from onnxpath.files.session import FileSession


def quantize_static(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto", samples: Mapping[str, np.ndarray], out: str,
    *, bits: int, channel: bool,
    left_out: Collection[str] = (), tensors: Collection[str] = (), reduce_range: bool = False,
) -> tuple[str, ...]:  # fmt: skip
    """Write the QDQ file of a model; returns notes.

    samples: arrays [n, ...] by the file's input names, n a multiple of a fixed batch. bits: of the weights;
        activations get 16 for 16, otherwise
    8. channel: one step per output channel. left_out, tensors: outputs of the file's nodes, and weights of
    it, that stay as they are. reduce_range: weights take 7 bits of 8. Raises ModelError, with the reason,
    where onnxruntime.quantization or ONNX Runtime does not take the model.
    """
    weights = {4: QuantType.QInt4, 8: QuantType.QInt8, 16: QuantType.QInt16}[bits]
    activations = QuantType.QUInt16 if bits == 16 else QuantType.QUInt8
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else "<model>"
    model = _loaded(source)
    notes = [note for note in [upgrade(model, str(path), 21 if bits != 8 else 13)] if note]
    names = _named(model, left_out)
    before = f"{os.path.splitext(out)[0]}-float.onnx"
    try:
        with _quiet():
            _folded(model, before)
            nodes = onnx.load(before, load_external_data=False).graph.node
            excluded = [
                node.name for node in nodes if node.name in names or not set(tensors).isdisjoint(node.input)
            ]
            quantization.quantize_static(
                before, out, _Reader(before, samples), quant_format=QuantFormat.QDQ, per_channel=channel,
                activation_type=activations,
                weight_type=weights, reduce_range=reduce_range, nodes_to_exclude=excluded,
                extra_options={"WeightSymmetric": True},
            )  # fmt: skip
    except ModelError:
        raise
    except Exception as error:  # what onnxruntime.quantization raises has no common class
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"{path}: onnxruntime.quantization does not quantize it: {why}") from error
    return tuple(notes)


def _loaded(source: "str | os.PathLike[str] | bytes | onnx.ModelProto") -> onnx.ModelProto:
    if isinstance(source, str | os.PathLike):
        return onnx.load(os.fspath(source))
    model = onnx.ModelProto()
    if isinstance(source, bytes):
        model.ParseFromString(source)
    else:
        model.CopyFrom(source)
    return model


def _named(model: onnx.ModelProto, outputs: Collection[str]) -> set[str]:
    """Names of the nodes with these outputs; nodes without a name get one."""
    taken, found = {node.name for node in model.graph.node}, set()
    for k, node in enumerate(model.graph.node):
        if not node.name:
            node.name = next(
                name for i in range(len(taken) + 1) if (name := f"{node.op_type}_{k + i}") not in taken
            )
            taken.add(node.name)
        if not set(outputs).isdisjoint(node.output):
            found.add(node.name)
    return found


def _folded(model: onnx.ModelProto, path: str) -> None:
    """The model to quantize as a file, as ONNX Runtime simplifies it."""
    held = {tensor.name for tensor in model.graph.initializer}
    given = [
        info for info in model.graph.input if info.name not in held
    ]  # an initializer that is an input is no constant
    del model.graph.input[:]
    model.graph.input.extend(given)
    model.ir_version = max(model.ir_version, 4)
    raw = f"{os.path.splitext(path)[0]}-raw.onnx"
    onnx.save(model, raw)
    quant_pre_process(raw, path, skip_symbolic_shape=True)


class _Reader(CalibrationDataReader):
    """The samples, a batch of the file's at a time."""

    def __init__(self, path: str, samples: Mapping[str, np.ndarray]):
        self._batches = batches(FileSession(path), samples)

    def get_next(self) -> dict | None:
        return next(self._batches, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the log messages of onnxruntime.quantization, which go to the root logger."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
