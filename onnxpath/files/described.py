"""Path and digest of a file of which no network was read."""

import hashlib
import os

from onnxpath.errors import ModelError
from onnxpath.results import BoundSide


def described(source: object) -> BoundSide:
    """The path and the sha256 of a file's bytes. source: a path, bytes, or an onnx.ModelProto. Raises ModelError where it cannot be read."""
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        try:
            with open(path, "rb") as stream:
                return BoundSide(path, hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    data = bytes(source) if isinstance(source, bytes | bytearray | memoryview) else source.SerializeToString(deterministic=True)  # type: ignore[attr-defined]
    return BoundSide("<bytes>" if isinstance(source, bytes | bytearray | memoryview) else "<model>", hashlib.sha256(data).hexdigest())
