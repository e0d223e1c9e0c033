"""Files with quantized weights or activations, made from float files."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BITS = {
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT16: (0, 65535),
}
READERS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0, "MatMul": 1}


def integers(name: str, kind: int, array: np.ndarray) -> TensorProto:
    return helper.make_tensor(name, kind, array.shape, array.reshape(-1).astype(int).tolist())


def quantized(
    array: np.ndarray, kind: int, axis: int | None, block: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(integers, scale, zero point) of a tensor: one step for all, one per index of `axis`, or one per block
    of it."""
    low, high = BITS[kind]
    array = array.astype(np.float64)
    if axis is None:
        ends = np.minimum(array.min(), 0), np.maximum(array.max(), 0)
    elif block:
        starts = range(0, array.shape[axis], block)
        ends = tuple(
            np.minimum.reduceat(array, starts, axis).clip(max=0)
            if k == 0
            else np.maximum.reduceat(array, starts, axis).clip(min=0)
            for k in range(2)
        )
    else:
        rest = tuple(k for k in range(array.ndim) if k != axis)
        ends = array.min(rest).clip(max=0), array.max(rest).clip(min=0)
    scale = np.asarray(np.maximum(ends[1] - ends[0], 1e-3) / (high - low), np.float32)
    zero = np.clip(np.rint(low - ends[0] / scale), low, high)
    wide = [
        value
        if axis is None
        else np.repeat(value, block, axis).take(range(array.shape[axis]), axis)
        if block
        else value.reshape((-1,) + (1,) * (array.ndim - axis - 1))
        for value in (scale, zero)
    ]
    return np.clip(np.rint(array / wide[0]) + wide[1], low, high), scale, zero


def weight_only(
    source: onnx.ModelProto, kind: int = TensorProto.INT8, granularity: str = "channel", block: int = 8,
    biases: bool = True, constants: bool = False,
) -> tuple[onnx.ModelProto, onnx.ModelProto]:  # fmt: skip
    """The model with its weights behind DequantizeLinear (biases as int32), and the same numbers as float
    weights.

    granularity: "tensor", "channel" or "block". constants: Constant nodes instead of initializers.
    """
    model, plain = onnx.ModelProto(), onnx.ModelProto()
    for copy in (model, plain):
        copy.CopyFrom(source)
    opset = next(entry for entry in model.opset_import if entry.domain == "")
    if kind not in (TensorProto.INT8, TensorProto.UINT8) or granularity == "block":
        for copy in (model, plain):
            copy.CopyFrom(onnx.version_converter.convert_version(copy, 21))
            copy.ir_version = 10
        opset = next(entry for entry in model.opset_import if entry.domain == "")
    assert opset.version >= 13
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made: dict[str, list[onnx.NodeProto]] = {}
    tensors: dict[str, list[TensorProto]] = {}
    floats: dict[str, np.ndarray] = {}

    def put(
        name: str,
        array: np.ndarray,
        integer_kind: int,
        scale: np.ndarray,
        zero: np.ndarray | None,
        **attributes: int,
    ) -> None:
        parts = [integers(f"{name}_q", integer_kind, array), numpy_helper.from_array(scale, f"{name}_s")]
        parts += [] if zero is None else [integers(f"{name}_z", integer_kind, zero)]
        tensors[name] = parts
        made[name] = [
            helper.make_node(
                "DequantizeLinear", [part.name for part in parts], [name], name=f"dq_{name}", **attributes
            )
        ]

    for node in source.graph.node:
        if node.op_type not in READERS or node.input[1] not in values or node.input[1] in made:
            continue
        array, axis = values[node.input[1]], READERS[node.op_type]
        if node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute):
            axis = 1
        axis = None if granularity == "tensor" else axis
        found, scale, zero = quantized(array, kind, axis, block if granularity == "block" else 0)
        attributes = {} if axis is None else {"axis": axis}
        put(
            node.input[1],
            found,
            kind,
            scale,
            zero,
            **attributes,
            **({"block_size": block} if granularity == "block" else {}),
        )
        wide = [
            v
            if axis is None
            else np.repeat(v, block, axis).take(range(array.shape[axis]), axis)
            if granularity == "block"
            else v.reshape((-1,) + (1,) * (array.ndim - axis - 1))
            for v in (scale, zero)
        ]
        floats[node.input[1]] = (found - wide[1]).astype(np.float32) * wide[0]
        if biases and len(node.input) > 2 and node.input[2] in values:
            bias = values[node.input[2]]
            step = np.asarray(np.maximum(np.abs(bias).max(), 1e-3) / 2**20, np.float32)
            put(node.input[2], np.rint(bias / step), TensorProto.INT32, step, None)
            floats[node.input[2]] = np.rint(bias / step).astype(np.float32) * step
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in made]
    stored = [tensor for name in made for tensor in tensors[name]]
    nodes = (
        [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in stored]
        if constants
        else []
    )
    nodes += [node for name in made for node in made[name]] + list(model.graph.node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept + ([] if constants else stored))
    for tensor in plain.graph.initializer:
        if tensor.name in floats:
            tensor.CopyFrom(numpy_helper.from_array(floats[tensor.name], tensor.name))
    return model, plain


def calibrated(
    source: onnx.ModelProto, samples: np.ndarray, folder: Path, *, operator: bool = False,
    channel: bool = True, signed: bool = False, wide: bool = False,
    removed: bool = True, reduce: bool = False, **options: object,
) -> str:  # fmt: skip
    """What onnxruntime.quantization makes of a model with these calibration samples [n, ...]: the path of a
    QDQ or QOperator file.

    signed: int8 activations instead of uint8; wide: uint16. removed: ReLUs before quantizers are left out
        where these do their work.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.items = iter([{source.graph.input[0].name: samples[k : k + 1]} for k in range(len(samples))])

        def get_next(self) -> dict | None:
            return next(self.items, None)

    float_path, path = folder / "float.onnx", folder / f"quantized{len(list(folder.iterdir()))}.onnx"
    onnx.save(source, float_path)
    activations = QuantType.QUInt16 if wide else QuantType.QInt8 if signed else QuantType.QUInt8
    quantize_static(
        float_path, path, Reader(), quant_format=QuantFormat.QOperator if operator else QuantFormat.QDQ,
        per_channel=channel,
        activation_type=activations, weight_type=QuantType.QInt8, reduce_range=reduce,
        extra_options={"QDQKeepRemovableActivations": not removed, "UseQDQContribOps": wide, **options},
    )  # fmt: skip
    return str(path)
