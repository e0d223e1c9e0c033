"""The Python interface to what two files do when they run."""

from collections.abc import Mapping, Sequence
from typing import Any

from onnxpath import importer
from onnxpath.analyses import compare as comparing
from onnxpath.errors import OnnxPathError, UsageError
from onnxpath.files.described import file_of
from onnxpath.files.runtime import Runtime
from onnxpath.importer.source import Source
from onnxpath.model.interface import Interface
from onnxpath.model.network import Network
from onnxpath.records import Comparison


def files_of(a: Source, b: Source) -> tuple[Source, Source] | None:
    """What is run beside the networks; None where one of them is a network that no file holds any more."""
    found = file_of(a), file_of(b)
    return None if None in found else found


def runtime_of(provider: str, options: Mapping[str, str] | None, threads: int) -> Runtime:
    return Runtime(provider, tuple((options or {}).items()), threads)


def compare(
    a: Source, b: Source, inputs: Any = None, *, shapes: Mapping[str, Sequence[int]] | None = None,
    low: float | None = None,
    high: float | None = None, seed: int = 0, file_provider: str = "cpu",
    file_options: Mapping[str, str] | None = None, threads: int = 0,
) -> Comparison:  # fmt: skip
    """Both files as ONNX Runtime runs them, whatever they contain: their interfaces, the differences of every
    output, and the predicted classes that differ. Nothing is proved.

    inputs: arrays [n, ...] by input name, or one array; without them inputs are made for the declared types
    and shapes, from `seed`, with numbers between low and high, and sizes of free axes from `shapes`. Raises
    ModelError where ONNX Runtime does not run one of them (docs/running.md).
    """
    files = files_of(a, b)
    if files is None:
        raise UsageError(
            "compare runs files: give paths, bytes or an onnx.ModelProto, not networks that no file holds"
        )
    interfaces = _interface(a), _interface(b)
    runtime = runtime_of(file_provider, file_options, threads)
    return comparing.compare(
        *files, inputs, runtime=runtime, shapes=shapes, low=low, high=high, seed=seed, interfaces=interfaces
    )


def _interface(source: Source) -> Interface | None:
    """What a file declares, with the functions at its end; None where no network can be read out of it."""
    try:
        found = source if isinstance(source, Network) else importer.load(source, extended=True)
        return found.interface
    except OnnxPathError:
        return None
