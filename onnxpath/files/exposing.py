"""A file with tensors before its outputs made outputs, too: what the network's own outputs are in the file
(`Network.tails`)."""

import os
from collections.abc import Collection
from typing import Any

import onnx

from onnxpath.errors import ModelError
from onnxpath.files.runtime import Runtime
from onnxpath.files.session import FileSession


def exposed(source: Any, tensors: Collection[str], runtime: Runtime, label: str) -> FileSession:
    """The file in a session with these tensors of its graph among its outputs. Weights in external files stay
    there.

    Raises ModelError where ONNX Runtime does not load it so, or where it is too large to be changed in
    memory.
    """
    model, folder = onnx.ModelProto(), None
    try:
        if isinstance(source, str | os.PathLike):
            model = onnx.load(source, load_external_data=False)
            folder = os.path.dirname(os.path.abspath(os.fspath(source)))
        elif isinstance(source, bytes | bytearray | memoryview):
            model.ParseFromString(bytes(source))
        else:
            model.CopyFrom(source)
        declared = {info.name for info in model.graph.output}
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in dict.fromkeys(tensors) if name not in declared
        )
        data = model.SerializeToString()
    except Exception as error:
        raise ModelError(
            f"{label}: what its outputs are made of cannot be read:"
            f" {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    return FileSession(data, runtime, label, None if folder is None else os.fspath(folder))
