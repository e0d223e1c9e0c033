"""What a user gave, as a file: its path and digest, and the file that a network came from."""

import hashlib
import os
from typing import Any

from onnxpath.errors import ModelError
from onnxpath.model.network import Network
from onnxpath.records import BoundSide


def described(source: Any) -> BoundSide:
    """The path and the sha256 of a file's bytes. source: a path, bytes, or an onnx.ModelProto. Raises
    ModelError where it cannot be read."""
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        try:
            with open(path, "rb") as stream:
                return BoundSide(path, hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    data = (
        bytes(source)
        if isinstance(source, bytes | bytearray | memoryview)
        else source.SerializeToString(deterministic=True)
    )
    return BoundSide(
        "<bytes>" if isinstance(source, bytes | bytearray | memoryview) else "<model>",
        hashlib.sha256(data).hexdigest(),
    )


def file_of(source: Any) -> Any:
    """What is run for a source: itself, or for a network the file that it was read from, while that is the
    same; None for any other network."""
    if not isinstance(source, Network):
        return source
    if not os.path.isfile(source.path):
        return None
    return source.path if described(source.path).sha256 == source.sha256 else None
