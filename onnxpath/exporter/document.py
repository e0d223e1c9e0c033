"""A file that is being changed: its parsed model without the large weights, and what will stand in their
place.

`raw_data` of large initializers never goes through protobuf: bytes that nobody changes are copied from the
source, and an array that replaces one is written as it is. External data stays external: all of it goes to
one file beside the new model.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from google.protobuf.message import EncodeError
from onnx import ModelProto, NodeProto, TensorProto

from onnxpath.errors import ModelError, UsageError
from onnxpath.exporter.storing import check_shape, fill, fill_constant, stored
from onnxpath.importer.decode import wire
from onnxpath.importer.decode.content import external_tensors
from onnxpath.importer.decode.external import open_external
from onnxpath.importer.decode.reading import Source
from onnxpath.importer.decode.tensors import stored_size

_CHUNK = 1 << 22
_ALIGNED = 4096
_LARGEST = (1 << 31) - 1


@dataclass(eq=False)
class Document:
    """source: the open file. model: its message, changed in place. arrays: new values of initializers whose
    bytes are not in `model`, as they are stored; by name."""

    source: Source
    model: ModelProto
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.source.path

    def initializers(self) -> dict[str, TensorProto]:
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    def constants(self) -> dict[str, NodeProto]:
        """Constant and ConstantOfShape nodes of the graph, by what they compute."""
        nodes = (node for node in self.model.graph.node if node.op_type in ("Constant", "ConstantOfShape"))
        return {name: node for node in nodes for name in node.output}

    def replace(self, values: Mapping[str, np.ndarray], reshaped: bool = False) -> None:
        """New values of tensors of the file. reshaped: their shapes may differ from the ones they have."""
        initializers, constants = self.initializers(), self.constants()
        for name, array in values.items():
            array = np.asarray(array)
            if name in initializers:
                self._replace_initializer(initializers[name], array, reshaped)
            elif name in constants:
                fill_constant(self.path, constants[name], name, array, reshaped)
            else:
                raise UsageError(f"{self.path}: has no initializer or Constant named '{name}' to change")

    def _replace_initializer(self, tensor: TensorProto, array: np.ndarray, reshaped: bool) -> None:
        name = tensor.name
        if not reshaped:
            check_shape(self.path, name, array, tuple(tensor.dims))
        if name in self.source.tensors.spans or tensor.data_location == TensorProto.EXTERNAL:
            self.arrays[name] = stored(self.path, name, array, tensor.data_type)
            del tensor.dims[:]
            tensor.dims.extend(array.shape)
        else:
            fill(self.path, tensor, name, array)

    def describe(self, metadata: Mapping[str, str]) -> None:
        """Set entries of the model's metadata; others stay."""
        entries = {entry.key: entry for entry in self.model.metadata_props}
        for key, value in metadata.items():
            if key in entries:
                entries[key].value = value
            else:
                self.model.metadata_props.add(key=key, value=value)

    def write_external(self, file: BinaryIO, location: str) -> None:
        """Write what the model keeps outside of it to `file`, which the model will find at `location`."""
        placed: dict[tuple, int] = {}
        own = [
            tensor for tensor in self.model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL
        ]
        for index, tensor in enumerate(external_tensors(self.model)):  # those of the graph itself come first
            array = self.arrays.get(tensor.name) if index < len(own) else None
            entries = {entry.key: entry.value for entry in tensor.external_data}
            key = (
                entries.get("location"),
                entries.get("offset", "0"),
                entries.get("length"),
                tuple(tensor.dims),
                tensor.data_type,
            )
            size = array.nbytes if array is not None else stored_size(self.path, tensor)
            if array is not None or key not in placed:
                start = file.tell() + -file.tell() % _ALIGNED
                file.seek(start)
                if array is not None:
                    file.write(_bytes(array))
                else:
                    placed[key] = start
                    _copy(self.path, self.source.tensors.folder, tensor, size, file)
            else:
                start = placed[key]
            del tensor.external_data[:]
            for name, value in (("location", location), ("offset", str(start)), ("length", str(size))):
                tensor.external_data.add(key=name, value=value)

    def write(self, file: BinaryIO) -> str:
        """Write the model; returns the sha256 of its bytes. External data must have been written before."""
        spans = self.source.tensors.spans
        lengths, names = {}, {}
        for index, tensor in enumerate(self.model.graph.initializer):
            if tensor.name in spans:
                names[index] = tensor.name
                array = self.arrays.get(tensor.name)
                lengths[index] = spans[tensor.name][1] if array is None else array.nbytes
        try:
            message = self.model.SerializeToString()
        except (EncodeError, ValueError) as error:
            raise ModelError(f"{self.path}: larger than 2 GB: save it with external data first") from error
        if len(message) + sum(lengths.values()) > _LARGEST:
            raise ModelError(f"{self.path}: larger than 2 GB: save it with external data first")
        digest = hashlib.sha256()
        for part in wire.spliced(message, lengths):
            for chunk in [part] if isinstance(part, bytes) else self._payload(names[part]):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def _payload(self, name: str) -> Iterator[bytes | memoryview]:
        if name in self.arrays:
            yield _bytes(self.arrays[name])
            return
        tensors = self.source.tensors
        offset, length = tensors.spans[name]
        if tensors.file is None:
            yield memoryview(tensors.data or b"")[offset : offset + length]
            return
        tensors.file.seek(offset)
        yield from _chunks(tensors.file, length, self.path)


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _chunks(file: BinaryIO, length: int, path: str) -> Iterator[bytes]:
    while length:
        chunk = file.read(min(length, _CHUNK))
        if not chunk:
            raise ModelError(f"{path}: changed while it was read: {length} bytes are missing")
        length -= len(chunk)
        yield chunk


def _copy(path: str, folder: str | None, tensor: TensorProto, size: int, file: BinaryIO) -> None:
    source, offset = open_external(path, folder, tensor, size)
    with source:
        source.seek(offset)
        for chunk in _chunks(source, size, path):
            file.write(chunk)
