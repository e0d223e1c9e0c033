"""A path, bytes or a ModelProto -> the parsed model, digests of what it is read from, and a reader of its
tensors.

Weights are left out of the parse (see wire.py) and read one by one into arrays of their own; the hash runs
beside the import.
"""

import contextlib
import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import onnx
from google.protobuf.message import DecodeError, EncodeError

from onnxpath.errors import ModelError, UsageError
from onnxpath.importer.decode import content, wire
from onnxpath.importer.decode.memory import Budget, human
from onnxpath.importer.decode.tensors import Tensors

_MAGIC = (
    (b"\x1f\x8b", "a gzip archive: decompress it first"),
    (
        b"PK\x03\x04",
        "a zip archive (PyTorch saves .pt files so): export the network to ONNX, or unzip it first",
    ),
    (b"\x89HDF", "an HDF5 file (Keras saves .h5 files so): export the network to ONNX"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run 'git lfs pull'"),
    (b"ORTM", "an ONNX Runtime .ort file: give the .onnx file it was made from"),
    (b"\x80\x02", "a pickle: export the network to ONNX"),
    (b"<", "a text file (HTML or XML)"),
    (b"{", "a text file (JSON)"),
)


Submit = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Source:
    """An open model. `path` is its name in messages; `digest` yields the sha256 of its bytes, `content` that
    of everything (content.py)."""

    path: str
    model: onnx.ModelProto
    tensors: Tensors
    digest: "Future[str]"
    content: "Future[str]"


def _hash_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hash_file(path: str, descriptor: int) -> str:
    digest, at = hashlib.sha256(), 0
    try:
        while chunk := os.pread(descriptor, 1 << 22, at):
            digest.update(chunk)
            at += len(chunk)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def _hash_model(path: str, model: onnx.ModelProto) -> str:
    try:
        return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    except (EncodeError, ValueError) as error:
        raise ModelError(f"{path}: larger than 2 GB: save it with external data and give its path") from error


def _parse(path: str, buffer: "bytes | mmap.mmap", size: int) -> tuple[onnx.ModelProto, dict[int, wire.Span]]:
    if size == 0:
        raise ModelError(f"{path}: the file is empty")
    head = bytes(buffer[:32])
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise ModelError(f"{path}: not an ONNX model but {what}")
    model = onnx.ModelProto()
    try:
        stripped, spans = wire.strip(buffer, size)
        model.ParseFromString(stripped)
    except (ValueError, DecodeError) as error:
        why = "truncated or damaged" if head[0] == 8 else "not an ONNX model"
        raise ModelError(f"{path}: {why} ({size} bytes that do not parse as one)") from error
    return model, spans


def _names(path: str, model: onnx.ModelProto, spans: dict[int, wire.Span]) -> dict[str, wire.Span]:
    try:
        return {model.graph.initializer[index].name: span for index, span in spans.items()}
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: damaged: the name of an initializer is not UTF-8") from error


@contextlib.contextmanager
def _open(path: str) -> Iterator[BufferedReader]:
    try:
        if os.path.isdir(path):
            raise ModelError(f"{path}: is a directory; name the .onnx file in it")
        file = open(path, "rb")  # noqa: SIM115 - closed below, once the tensors are read
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    with file:
        yield file


@contextlib.contextmanager
def open_source(source: object, hashed: bool = True) -> Iterator[Source]:
    """Open whatever `onnxpath.load` accepts; files stay open until the block ends. Without `hashed`, the
    digest is ''."""
    with contextlib.ExitStack() as stack:
        path, file = "", None
        if isinstance(source, str | os.PathLike):
            path = os.fspath(source)
            path = path if isinstance(path, str) else os.fsdecode(path)
            file = stack.enter_context(_open(path))
        pool = stack.enter_context(ThreadPoolExecutor(1, "onnxpath-sha256"))  # done before the file is closed
        submit: Submit = pool.submit if hashed else lambda *_: pool.submit(str)
        if isinstance(source, onnx.ModelProto):
            digest = submit(_hash_model, "<model>", source)
            yield Source("<model>", source, Tensors("<model>"), digest, digest)
        elif isinstance(source, bytes | bytearray | memoryview):
            data = bytes(source)
            model, spans = _parse("<bytes>", data, len(data))
            tensors = Tensors("<bytes>", data=data, spans=_names("<bytes>", model, spans))
            digest = submit(_hash_bytes, data)
            yield Source("<bytes>", model, tensors, digest, digest)
        elif file is not None:
            yield _read_file(path, file, submit)
        else:
            raise UsageError(f"a model is a path, bytes or an onnx.ModelProto, not {type(source).__name__}")


def _drained(path: str, file: BufferedReader) -> bytes:
    """All that a pipe gives, which need not end."""
    limit = Budget().limit
    data = bytearray()
    while chunk := file.read(1 << 20):
        data += chunk
        if len(data) > limit:
            raise ModelError(
                f"{path}: gives more than {human(limit)}, which is half of this machine's free memory"
            )
    return bytes(data)


def _read_file(path: str, file: BufferedReader, submit: Submit) -> Source:
    folder = os.path.dirname(path) or "."
    status = os.fstat(file.fileno())
    if stat.S_ISFIFO(status.st_mode):
        data = _drained(path, file)
        model, spans = _parse(path, data, len(data))
        tensors = Tensors(path, folder, data=data, spans=_names(path, model, spans))
        return _source(path, model, tensors, submit, submit(_hash_bytes, data))
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path}: not a regular file")
    if status.st_size == 0:
        raise ModelError(f"{path}: the file is empty")
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            model, spans = _parse(path, view, len(view))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    tensors = Tensors(path, folder, file=file, spans=_names(path, model, spans))
    return _source(path, model, tensors, submit, submit(_hash_file, path, file.fileno()))


def _source(
    path: str, model: onnx.ModelProto, tensors: Tensors, submit: Submit, digest: "Future[str]"
) -> Source:
    try:
        parts = content.external_parts(path, model)
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: damaged: a name in it is not UTF-8") from error
    # the pool runs one task after the other: the digest is there by then
    whole = submit(lambda: content.digest(path, tensors.folder, parts, digest.result())) if parts else digest
    return Source(path, model, tensors, digest, whole)
