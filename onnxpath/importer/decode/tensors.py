"""TensorProto -> numpy array: views of the bytes where possible, no type wider or narrower than the file's
but for halves.

float16 and bfloat16 become float32 (exactly: x_bf16 = the upper 16 bits of x_f32). Integers of 4 bits, stored
two in a byte with the first in the low half, become bytes of the type int4 or uint4. Lengths are checked
against the declared shape before anything is allocated.
"""

from dataclasses import dataclass, field
from io import BufferedReader
from math import prod

import numpy as np
from onnx import TensorProto, helper

from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.importer.decode.external import open_external
from onnxpath.importer.decode.memory import LARGEST_RANK, Budget

_DTYPES: dict[int, str] = {
    TensorProto.FLOAT: "<f4",
    TensorProto.DOUBLE: "<f8",
    TensorProto.FLOAT16: "<f2",
    TensorProto.BFLOAT16: "<u2",
    TensorProto.INT8: "<i1",
    TensorProto.INT16: "<i2",
    TensorProto.INT32: "<i4",
    TensorProto.INT64: "<i8",
    TensorProto.UINT8: "<u1",
    TensorProto.UINT16: "<u2",
    TensorProto.UINT32: "<u4",
    TensorProto.UINT64: "<u8",
    TensorProto.BOOL: "<u1",
    TensorProto.INT4: "<u1",
    TensorProto.UINT4: "<u1",
}
_PACKED = (TensorProto.INT4, TensorProto.UINT4)
_TYPED: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, *HALVES)
SUPPORTED = tuple(_DTYPES)


def type_name(data_type: int) -> str:
    """'float16', 'int4', ... as messages say it."""
    try:
        return TensorProto.DataType.Name(data_type).lower()
    except ValueError:
        return f"unknown type {data_type}"


def _stored_count(shape: tuple[int, ...], data_type: int) -> int:
    """How many stored elements hold a tensor: two numbers of 4 bits share one."""
    return (prod(shape) + 1) // 2 if data_type in _PACKED else prod(shape)


def stored_size(path: str, tensor: TensorProto) -> int:
    """How many bytes the data of an external tensor takes."""
    if tensor.data_type in _DTYPES:
        return (
            _stored_count(tuple(tensor.dims), tensor.data_type) * np.dtype(_DTYPES[tensor.data_type]).itemsize
        )
    length = next((entry.value for entry in tensor.external_data if entry.key == "length"), "")
    if not length.isdigit():
        raise UnsupportedError(
            f"{path}: the tensor '{tensor.name}' ({type_name(tensor.data_type)}) has external data of unknown"
            " length"
        )
    return int(length)


def check_type(path: str, tensor: TensorProto, name: str = "") -> None:
    """Refuse elements that are no numbers, or numbers of fewer than 4 bits or of complex kind."""
    if tensor.data_type not in _DTYPES:
        raise UnsupportedError(
            f"{path}: the tensor '{name or tensor.name}' has elements of type {type_name(tensor.data_type)}; "
            "float16, bfloat16, float32, float64, integers of 4 bits or more and bool are supported"
        )


def native(array: np.ndarray, data_type: int) -> np.ndarray:
    """The stored array in a type that numpy computes with."""
    if data_type == TensorProto.FLOAT16:
        return array.astype(np.float32)
    if data_type == TensorProto.BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    if data_type == TensorProto.BOOL:
        return array != 0
    if data_type in _PACKED:
        return _unpacked(array, data_type)
    return array


def _unpacked(array: np.ndarray, data_type: int) -> np.ndarray:
    """Both halves of every byte; the last one may stand for nothing."""
    numbers = np.stack([array & 15, array >> 4], axis=-1).reshape(-1).astype(np.int8)
    if data_type == TensorProto.INT4:
        numbers = numbers - 16 * (numbers > 7).astype(np.int8)
    return numbers.astype(helper.tensor_dtype_to_np_dtype(data_type))


@dataclass(eq=False)
class Tensors:
    """Reads the tensors of one model.

    folder: of the model, for external data; None when there is no file. spans: where in `file` or `data` the
    raw bytes of an initializer are that were left out of the parse.
    """

    path: str
    folder: str | None = None
    file: BufferedReader | None = None
    data: bytes | None = None
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)

    def initializer(self, tensor: TensorProto) -> np.ndarray:
        """The value of an initializer of the graph, whose raw bytes may have been left out of the parse."""
        span = self.spans.get(tensor.name)
        if span is None:
            return self.read(tensor, tensor.name)
        shape, dtype, size = self._layout(tensor, tensor.name)
        offset, length = span
        if length != size:
            raise self._wrong_length(tensor.name, shape, tensor.data_type, size, length)
        if self.file is not None:
            stored = self._from_file(self.file, offset, size, dtype, tensor.name)
        else:
            stored = np.frombuffer(self.data or b"", dtype, size // dtype.itemsize, offset)
            if not stored.flags.aligned:
                stored = stored.copy()
        return self._finish(stored, shape, tensor.data_type)

    def read(self, tensor: TensorProto, name: str) -> np.ndarray:
        """The value of a tensor that the parsed model (or a file beside it) holds."""
        shape, dtype, size = self._layout(tensor, name)
        if tensor.data_location == TensorProto.EXTERNAL:
            file, offset = open_external(self.path, self.folder, tensor, size)
            with file:
                stored = self._from_file(file, offset, size, dtype, name)
        elif tensor.HasField("raw_data"):
            raw = tensor.raw_data
            if len(raw) != size:
                raise self._wrong_length(name, shape, tensor.data_type, size, len(raw))
            stored = np.frombuffer(raw, dtype)
        else:
            values = getattr(tensor, _TYPED.get(tensor.data_type, "int32_data"))
            if len(values) != size // dtype.itemsize:
                raise ModelError(
                    f"{self.path}: the tensor '{name}' of shape {list(shape)} holds {len(values)} values"
                    f" instead of {size // dtype.itemsize}"
                )
            wide = np.array(values, dtype if tensor.data_type in _TYPED else np.int64)
            stored = wide if tensor.data_type in _TYPED else self._narrow(wide, dtype, tensor, name)
        return self._finish(stored, shape, tensor.data_type)

    def _narrow(self, values: np.ndarray, dtype: np.dtype, tensor: TensorProto, name: str) -> np.ndarray:
        """int32_data -> the type it stands for: halves are stored as their bits, two numbers of 4 bits as a
        byte."""
        bits = np.dtype("<u2") if dtype.kind == "f" else dtype
        limits = np.iinfo(bits)
        # a byte of two halves, or the bits of a half, may come as a signed number
        low = -limits.max // 2 - 1 if tensor.data_type in (*_PACKED, *HALVES) else limits.min
        outside = (values < low) | (values > limits.max)
        if outside.any():
            raise ModelError(
                f"{self.path}: the tensor '{name}' holds {values[outside][0]}, which is out of range for"
                f" {type_name(tensor.data_type)}"
            )
        return values.astype(bits).view(dtype)

    def _layout(self, tensor: TensorProto, name: str) -> tuple[tuple[int, ...], np.dtype, int]:
        shape = tuple(tensor.dims)
        if any(d < 0 for d in shape):
            raise ModelError(f"{self.path}: the tensor '{name}' has the shape {list(shape)}")
        if len(shape) > LARGEST_RANK:
            raise UnsupportedError(
                f"{self.path}: the tensor '{name}' has {len(shape)} axes; at most {LARGEST_RANK} are"
                " supported"
            )
        check_type(self.path, tensor, name)
        if tensor.HasField("segment"):
            raise UnsupportedError(f"{self.path}: the tensor '{name}' is split into segments")
        dtype = np.dtype(_DTYPES[tensor.data_type])
        size = _stored_count(shape, tensor.data_type) * dtype.itemsize
        taken = max(size, 4 * prod(shape) if tensor.data_type in HALVES else prod(shape))
        self.budget.hold(taken, f"{self.path}: the tensor '{name}' of shape {list(shape)}")
        return shape, dtype, size

    def _from_file(
        self, file: BufferedReader, offset: int, size: int, dtype: np.dtype, name: str
    ) -> np.ndarray:
        stored = np.empty(size // dtype.itemsize, dtype)
        into, got = memoryview(stored.data).cast("B") if size else memoryview(b""), 0
        try:
            file.seek(offset)
            while got < size and (count := file.readinto(into[got:])):
                got += count
        except OSError as error:
            raise ModelError(
                f"{self.path}: the data of the tensor '{name}' cannot be read: {error.strerror or error}"
            ) from error
        if got != size:
            raise ModelError(f"{self.path}: the data of the tensor '{name}' ends after {got} of {size} bytes")
        return stored

    def _wrong_length(
        self, name: str, shape: tuple[int, ...], data_type: int, size: int, found: int
    ) -> ModelError:
        return ModelError(
            f"{self.path}: the tensor '{name}' of shape {list(shape)} ({type_name(data_type)}) holds"
            f" {found} bytes instead of {size}"
        )

    @staticmethod
    def _finish(stored: np.ndarray, shape: tuple[int, ...], data_type: int) -> np.ndarray:
        array = native(stored, data_type)[: prod(shape)].reshape(shape)
        array.flags.writeable = False
        return array
