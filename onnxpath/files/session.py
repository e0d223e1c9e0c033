"""One of the user's files in ONNX Runtime, as it is: all its declared inputs and outputs, whatever it
contains.

Samples are run one by one, each as a program would that gets one: a file may mix the samples of a batch (a
Softmax along axis 0, a dynamic quantizer), and then there is no other meaning of "its output for this input".
A file of a fixed batch of n gets n at once.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from onnxpath.engine.providers import quietly, reason
from onnxpath.errors import ModelError
from onnxpath.files.runtime import DEFAULT, Runtime
from onnxpath.model.interface import Port

# NumPy's types of what ONNX Runtime calls tensor(...); bfloat16 and float8 have none.
_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "int64": "int64", "int32": "int32",
    "int16": "int16", "int8": "int8",
    "uint64": "uint64", "uint32": "uint32", "uint16": "uint16", "uint8": "uint8", "bool": "bool",
    "string": "string",
}  # fmt: skip


def runtime_module() -> Any:
    """ONNX Runtime, imported when the first file is run; tests put a runtime with other kernels in its
    place."""
    return onnxruntime


def _port(item: Any) -> Port:
    kind = str(item.type)
    if not kind.startswith("tensor("):
        return Port(item.name, kind.replace("seq(", "sequence("), None)
    inner = kind[len("tensor(") : -1]
    shape = tuple(
        n if isinstance(n, int) and n > 0 else n if isinstance(n, str) and n else None for n in item.shape
    )
    return Port(
        item.name, _DTYPES.get(inner, inner), shape or None
    )  # it spells an unknown rank as that of a single number


class FileSession:
    """A file, ready to run. source: a path, bytes, or an onnx.ModelProto. label: what messages call it.

    Raises ModelError where ONNX Runtime does not load it, ProviderError where the provider that was asked for
    is not there.
    """

    def __init__(
        self, source: Any, runtime: Runtime = DEFAULT, label: str = "", model_folder: str | None = None
    ):
        """model_folder: of external data, for a model that is given as bytes."""
        given = os.fspath(source) if isinstance(source, str | os.PathLike) else source
        self.label = label or (given if isinstance(given, str) else "the model")
        if isinstance(given, bytearray | memoryview):
            given = bytes(given)
        if not isinstance(given, str | bytes):
            given = given.SerializeToString()
        runtime_module().set_default_logger_severity(4)
        options, provider = runtime.session_options(), runtime.provider_name()
        if model_folder is not None:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", model_folder
            )
        self._provider = provider
        try:
            with quietly(provider):
                self._session = runtime_module().InferenceSession(
                    given, options, providers=[provider], enable_fallback=0
                )
            self._session.disable_fallback()
        except Exception as error:  # what ONNX Runtime raises has no common class
            raise ModelError(f"{self.label}: ONNX Runtime cannot load it: {reason(error)}") from error
        if self._session.get_providers()[0] != provider:
            raise ModelError(
                f"{self.label}: ONNX Runtime runs it on {self._session.get_providers()[0]} instead of"
                f" {provider}"
            )
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(map(_port, self._session.get_outputs()))
        self.keys: dict[str, tuple[str, ...]] = {}

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Its outputs for arrays of its own types and shapes. Raises ModelError where ONNX Runtime does not
        run it."""
        names = [port.name for port in self.outputs] if outputs is None else list(outputs)
        try:
            with quietly(self._provider):
                values = self._session.run(names, dict(feeds))
        except Exception as error:
            raise ModelError(f"{self.label}: ONNX Runtime cannot run it: {reason(error)}") from error
        for name, value in zip(names, values, strict=True):
            if keys := _keys(value):
                self.keys[name] = keys
        return {name: _array(value) for name, value in zip(names, values, strict=True)}

    def feed(self, port: Port, array: np.ndarray) -> np.ndarray:
        """An array in the type that the file declares; raises ModelError for numbers that are not of that
        kind."""
        if port.type not in _DTYPES.values():
            raise ModelError(
                f"{self.label}: its input '{port.name}' is {port.type}, which arrays cannot feed"
            )
        if port.type == "string":
            return np.asarray(array, object)
        dtype = np.dtype(port.type)
        if array.dtype == dtype:
            return np.ascontiguousarray(array)
        with np.errstate(all="ignore"):
            cast = array.astype(dtype)
            if dtype.kind != "f" and not np.array_equal(cast.astype(np.float64), array.astype(np.float64)):
                raise ModelError(
                    f"{self.label}: its input '{port.name}' is {port.type}, which does not hold the numbers"
                    " given for it"
                )
        return np.ascontiguousarray(cast)

    def batch(self, given: Sequence[str]) -> int | None:
        """How many samples a run takes: the fixed leading size of the inputs named; None where any number
        does (one is fed), 0 where they have no axis for it."""
        sizes = [
            port.shape[0] if port.shape else 0
            for port in self.inputs
            if port.name in given and port.shape is not None
        ]
        fixed = {n for n in sizes if isinstance(n, int)}
        return max(fixed) if fixed else None

    def rest(self, given: Sequence[str], samples: int) -> dict[str, np.ndarray]:
        """Zeros for the inputs that are not given: one for every axis of free size, `samples` along a free
        leading one."""
        found = {}
        for port in self.inputs:
            if port.name not in given:
                shape = [
                    n if isinstance(n, int) else samples if k == 0 else 1
                    for k, n in enumerate(port.shape or ())
                ]
                found[port.name] = self.feed(port, np.zeros(shape))
        return found


def _keys(value: Any) -> tuple[str, ...]:
    """What the columns of a map, or of a sequence of maps, are called."""
    first = value[0] if isinstance(value, list) and value else value
    return tuple(map(str, sorted(first))) if isinstance(first, dict) else ()


def _array(value: Any) -> np.ndarray:
    """An output as an array: a sequence of tensors stacked, a sequence of maps (ZipMap) as a matrix with a
    column for every key."""
    if value is None:  # an optional output that is not there
        return np.zeros(0)
    if isinstance(value, dict):
        return np.array([value[key] for key in sorted(value)])
    if isinstance(value, list):
        parts = [_array(item) for item in value]
        same = len({part.shape for part in parts}) == 1
        return (
            np.stack(parts)
            if same
            else np.concatenate([part.reshape(-1) for part in parts])
            if parts
            else np.zeros(0)
        )
    return np.asarray(value)
