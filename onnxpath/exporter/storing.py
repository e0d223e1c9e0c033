"""numpy array -> TensorProto: new values in the type and the field that the tensor has in its file.

Values are rounded to nearest, as NumPy rounds; bfloat16 (the upper 16 bits of a float32) to nearest even as
well. A finite value that the type cannot hold is an error, never an infinity.
"""

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto

from onnxpath.errors import UnsupportedError, UsageError
from onnxpath.importer.decode.tensors import type_name

_STORED: dict[int, str] = {
    TensorProto.FLOAT: "<f4", TensorProto.DOUBLE: "<f8", TensorProto.FLOAT16: "<f2",
    TensorProto.BFLOAT16: "<u2",
}  # fmt: skip
_LARGEST: dict[int, float] = {
    TensorProto.FLOAT: 3.4028235e38,
    TensorProto.FLOAT16: 65504.0,
    TensorProto.BFLOAT16: 3.3895314e38,
}


def stored(path: str, name: str, array: np.ndarray, data_type: int) -> np.ndarray:
    """The array in the little-endian type that the file stores (bfloat16 as its bits)."""
    if data_type not in _STORED:
        raise UnsupportedError(
            f"{path}: the tensor '{name}' holds {type_name(data_type)}; only floating-point tensors can be"
            " changed"
        )
    with np.errstate(over="ignore", under="ignore"):
        if data_type == TensorProto.BFLOAT16:
            bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
            rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
            finite = (rounded & 0x7F80) != 0x7F80
            result = rounded
        else:
            result = np.ascontiguousarray(array, _STORED[data_type])
            finite = np.isfinite(result)
    if not finite.all():
        worst = np.abs(array[~finite]).max()
        raise UsageError(
            f"{path}: the tensor '{name}' is {type_name(data_type)}, which holds numbers up to"
            f" {_LARGEST.get(data_type, 1.7976931e308):g}, but"
            f" {'more' if np.isinf(worst) else format(worst, 'g')} is to be stored in it; convert the file to"
            " a wider type first"
        )
    return result.reshape(array.shape)


def check_shape(path: str, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise UsageError(
            f"{path}: the tensor '{name}' has shape {list(shape)}; values of shape {list(array.shape)} cannot"
            " be stored in it"
        )


def fill(path: str, tensor: TensorProto, name: str, array: np.ndarray) -> None:
    """Replace the value of a tensor that the parsed model holds, in the field where it is."""
    value = stored(path, name, array, tensor.data_type)
    del tensor.dims[:]
    tensor.dims.extend(array.shape)
    typed = [field for field in ("float_data", "double_data", "int32_data") if getattr(tensor, field)]
    if tensor.HasField("raw_data") or not typed:
        tensor.raw_data = value.tobytes()
        return
    flat = value.reshape(-1)
    if tensor.data_type == TensorProto.FLOAT16:
        flat = flat.view("<u2")
    field = getattr(tensor, typed[0])
    del field[:]
    field.extend(flat.tolist())


def fill_constant(path: str, node: NodeProto, name: str, array: np.ndarray, reshaped: bool = False) -> None:
    """Replace the value of a Constant node, or the one cell of a ConstantOfShape. reshaped: its shape may
    change."""
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.type == AttributeProto.TENSOR:
            check_shape(path, name, array, array.shape if reshaped else tuple(attribute.t.dims))
            fill(path, attribute.t, name, array)
            return
        if attribute.name in ("value_float", "value_floats"):
            listed = attribute.name == "value_floats"
            check_shape(
                path, name, array, () if not listed else array.shape if reshaped else (len(attribute.floats),)
            )
            value = stored(path, name, array, TensorProto.FLOAT)
            if listed:
                del attribute.floats[:]
                attribute.floats.extend(value.tolist())
            else:
                attribute.f = float(value)
            return
    if node.op_type == "ConstantOfShape" and not node.attribute:
        check_shape(path, name, array, (1,))
        value = stored(path, name, array, TensorProto.FLOAT)
        tensor = TensorProto(dims=[1], data_type=TensorProto.FLOAT, raw_data=value.tobytes())
        node.attribute.append(AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor))
        return
    raise UnsupportedError(
        f"{path}: node '{node.name or name}' ({node.op_type}) holds no floating-point value that can be"
        " changed"
    )
