"""External data: tensors that a model keeps in files beside it.

A location is relative to the folder of the model, wherever the process runs, and never leads out of that
folder: not by an absolute path, not by '..', not by a symbolic link. Offset and length are checked against
the file and against the declared shape and type before anything is read.
"""

import os
import stat
from io import BufferedReader
from pathlib import Path

import onnx

from onnxpath.errors import ModelError


def _resolve(path: str, folder: str, name: str, location: str) -> Path:
    def refuse(why: str) -> ModelError:
        return ModelError(f"{path}: the tensor '{name}' keeps its data in '{location}', {why}")

    if not location or "\0" in location:
        raise refuse("which is not the name of a file")
    parts = location.replace("\\", "/").split("/")
    if os.path.isabs(location) or location.startswith(("/", "\\")) or ":" in parts[0] or ".." in parts:
        raise refuse("outside of the folder of the model; only files in that folder are read")
    base = Path(folder)
    try:
        target = (base / location).resolve(strict=True)
        inside = target.is_relative_to(base.resolve())
    except FileNotFoundError as error:
        raise refuse("which does not exist; put that file next to the model") from error
    except (OSError, RuntimeError) as error:
        raise refuse(f"which cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not inside:
        raise refuse(
            "a link that leads outside of the folder of the model; only files in that folder are read"
        )
    return target


def _number(path: str, name: str, entries: dict[str, str], key: str) -> int | None:
    if key not in entries:
        return None
    text = entries[key]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ModelError(
            f"{path}: the tensor '{name}' has external data with {key} '{text}', which is not a number of"
            " bytes"
        )
    return int(text)


def _opened(path: str, name: str, location: str, target: Path) -> BufferedReader:
    """A regular file, opened. Nothing else is: opening a pipe waits for a writer, and opening a device may do
    anything."""
    what = f"{path}: the tensor '{name}' keeps its data in '{location}', which"
    try:
        if not stat.S_ISREG(os.stat(target).st_mode):
            raise ModelError(f"{what} is not a regular file (a pipe, a device or a folder)")
        # whatever takes its place in between must not block either
        file = os.fdopen(
            os.open(target, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb"
        )
    except OSError as error:
        raise ModelError(f"{what} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ModelError(f"{what} is not a regular file (a pipe, a device or a folder)")
    return file


def open_external(
    path: str, folder: str | None, tensor: onnx.TensorProto, size: int
) -> tuple[BufferedReader, int]:
    """The file that holds the `size` bytes of a tensor, opened, and the offset of its first byte."""
    name = tensor.name
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ModelError(
            f"{path}: the tensor '{name}' keeps its data in the file '{location}': give the path of the model"
            " instead of its bytes"
        )
    target = _resolve(path, folder, name, location)
    offset = _number(path, name, entries, "offset") or 0
    length = _number(path, name, entries, "length")
    if length is not None and length != size:
        raise ModelError(
            f"{path}: the tensor '{name}' of shape {list(tensor.dims)} takes {size} bytes, but its external"
            f" data has length {length}"
        )
    file = _opened(path, name, location, target)
    status = os.fstat(file.fileno())
    if offset + size > status.st_size:
        file.close()
        raise ModelError(
            f"{path}: the tensor '{name}' takes bytes {offset} to {offset + size} of '{location}', which has"
            f" {status.st_size} bytes"
        )
    return file, offset
