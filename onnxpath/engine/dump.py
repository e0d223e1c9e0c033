"""The graphs of passes as files, for people: `--dump-graph FOLDER`.

    with dumping("graphs"):
        onnxpath.path_norm("model.onnx")        # graphs/pass-001-lanes.absolute.trace.onnx, ...

A file is what ONNX Runtime gets, with inferred shapes: weights are inputs without values, as they are bound.
It is named by what built it; its doc string is the way there, from the analysis on. No result is changed.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import FrameType

from onnx import ModelProto
from onnx.shape_inference import infer_shapes

from onnxpath.errors import UsageError
from onnxpath.files.writing import replaced

_NAME = re.compile(r"pass-[0-9]{3,}-[\w.]+\.onnx")
# What all passes over lanes are built with: the step before says which pass it is.
_COMMON = ("lanes.emission.", "lanes.tracer.")


class _Folder:
    """Where graphs are written, numbered as they come, from whatever thread."""

    def __init__(self, path: str):
        self._path, self._count, self._lock = path, 0, Lock()

    def write(self, model: bytes) -> None:
        shaped = infer_shapes(ModelProto.FromString(model))
        with self._lock:
            self._count += 1
            number = self._count
        with replaced(os.path.join(self._path, f"pass-{number:03d}-{shaped.graph.name}.onnx")) as file:
            file.write(shaped.SerializeToString())


_OPEN: list[_Folder] = []


def _step(frame: FrameType) -> str:
    """A running function by its file, "lanes.absolute.trace"; a class that is being made by its name."""
    code, made = frame.f_code, frame.f_locals.get("self")
    if code.co_name == "__init__" and made is not None:
        return f"{type(made).__module__}.{type(made).__name__}".partition(".")[2]
    return f"{frame.f_globals['__name__'].partition('.')[2]}.{code.co_name}"


def described() -> tuple[str, str]:
    """The name of a graph that is being built and its doc string, from the functions of this package that
    run; ("pass", "") while no graph is written."""
    if not _OPEN:
        return "pass", ""
    way: list[str] = []
    frame = sys._getframe(1)
    while frame is not None:
        package, _, module = frame.f_globals.get("__name__", "").partition(".")
        if package == "onnxpath" and not module.startswith(("engine.", "cli.")):
            way.append(_step(frame))
        frame = frame.f_back
    name = next((step for step in way if not step.startswith(_COMMON)), "pass")
    return re.sub(r"[^\w.]", "", name), " > ".join(dict.fromkeys(reversed(way)))


def keep(model: bytes) -> None:
    """Write the graph of a session that is being made, where that is asked for."""
    for folder in _OPEN:
        folder.write(model)


@contextmanager
def dumping(path: str, force: bool = False) -> Iterator[None]:
    """Write the graph of every session of a pass into a folder, while the block runs. The folder is made;
    graphs of an earlier run are removed. Raises UsageError where it holds anything else and not `force`."""
    try:
        os.makedirs(path, exist_ok=True)
        held = sorted(os.listdir(path))
        other = [name for name in held if not _NAME.fullmatch(name)]
        if other and not force:
            raise UsageError(
                f"{path}: holds '{other[0]}', which is no graph of a pass; give an empty folder, or --force"
                " to write beside it"
            )
        for name in held:
            if name not in other:
                os.unlink(os.path.join(path, name))
    except OSError as error:
        raise UsageError(f"cannot write graphs into {path}: {error.strerror or error}") from error
    folder = _Folder(path)
    _OPEN.append(folder)
    try:
        yield
    finally:
        _OPEN.remove(folder)
