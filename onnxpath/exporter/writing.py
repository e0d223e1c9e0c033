"""Writing a changed copy of an ONNX file: only what was meant to change differs, and the file appears whole
or not at all.

The new file is written into a folder of its own beside its target, passes onnx.checker, loads in ONNX
Runtime, and is then moved into place. A check that the source itself does not pass is not asked of the copy;
the result says so.

A model with external data is two files, which no system replaces in one step. At every moment the target is
the old model or the new one:

    1. the new data comes under a name that nothing has      2. the model that names it takes the target's
                                                             place 3. the old data goes

The folder of the unfinished files holds a note of these names, so that the next run can finish what a killed
one began (`_settled`).
"""

import json
import mmap
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import onnx
from onnx import ModelProto

from onnxpath.errors import ModelError, OnnxPathError, UsageError
from onnxpath.exporter.document import Document
from onnxpath.files.writing import sync, temporary_folder
from onnxpath.importer.decode.content import external_tensors
from onnxpath.importer.decode.reading import open_source

# In the folder of what is unfinished: which files beside the target a run is about to put and to remove.
_NOTE = "unfinished.json"


@dataclass(frozen=True)
class Written:
    """The file that was written, the sha256 of its bytes, and checks that neither it nor its source
    passes."""

    path: str
    sha256: str
    notes: tuple[str, ...] = ()


def check_target(source: object, out: str | os.PathLike[str], force: bool = False) -> str:
    """The real path of OUT, once it is known that a file can be written there. Raises UsageError otherwise:
    no file can be written there, it is the model (and not `force`), or it holds data of the model.

    For commands that compute for long before they write.
    """
    name = os.fsdecode(os.fspath(out))
    if not name or "\0" in name:
        raise UsageError(
            "the name of the file to write is empty" if not name else f"'{name!r}' is not the name of a file"
        )
    target = os.path.realpath(name)
    folder = os.path.dirname(target)
    if os.path.isdir(target) or name.endswith(os.sep):
        raise UsageError(f"{name}: is a directory; give the name of the file to write")
    if not os.path.isdir(folder):
        raise UsageError(f"{name}: there is no folder '{os.path.dirname(name) or folder}'; make it first")
    if os.path.exists(target) and not os.path.isfile(target):
        raise UsageError(f"{name}: not a regular file")
    if not os.access(folder, os.W_OK | os.X_OK) or (
        os.path.exists(target) and not os.access(target, os.W_OK)
    ):
        raise UsageError(f"{name}: cannot be written: permission denied")
    path = source if isinstance(source, str | os.PathLike) else ""
    if not force and os.path.exists(target) and os.path.exists(path) and os.path.samefile(path, target):
        raise UsageError(f"{name}: is the model itself; give another name, or --force to replace it")
    if os.path.isfile(target) and os.path.isfile(path) and not os.path.samefile(path, target):
        with open_source(path, hashed=False) as opened:
            _check_data(name, target, _external_files(opened.model, opened.tensors.folder), opened.path)
    return target


def _check_data(name: str, target: str, used: set[str], path: str) -> None:
    if target in used:
        raise UsageError(f"{name}: holds data of the model {path}; give another name")


def write(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto",
    edits: Mapping[str, np.ndarray],
    out: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
    verify: Callable[[str], None] | None = None,
) -> Written:
    """Write a copy of a model in which some tensors have other values.

    source: a path, bytes or an onnx.ModelProto; never modified. edits: new values by the name of the file's
    tensor (`Placement.tensor`), each of that tensor's shape, any real dtype; they are stored in the tensor's
    own type and field.
    metadata: entries added to the model's metadata. force: allow OUT to be the source. verify: see
        `write_changed`.

    Raises UsageError for a target that cannot be written, is the source, or for values that do not fit a
    tensor (its shape, or its range: float16 ends at 65504); ModelError when the result is not a valid model.
    """

    def change(document: Document) -> None:
        document.replace(edits)
        document.describe(metadata or {})

    return write_changed(source, change, out, force, verify)


def write_changed(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto",
    change: Callable[[Document], None],
    out: str | os.PathLike[str],
    force: bool = False,
    verify: Callable[[str], None] | None = None,
) -> Written:
    """`write` for any change of the document. verify: sees the path of the finished file before it is moved
    into place, and raises to keep it from being."""
    target = check_target(source, out, force)
    if not isinstance(source, str | os.PathLike | bytes):
        try:
            source = (
                bytes(source) if isinstance(source, bytearray | memoryview) else source.SerializeToString()
            )
        except Exception as error:
            raise ModelError(
                "<model>: larger than 2 GB: save it with external data and give its path"
            ) from error
    with open_source(source, hashed=False) as opened:
        used = _external_files(opened.model, opened.tensors.folder)
        _check_data(os.fsdecode(os.fspath(out)), target, used, opened.path)
        document = Document(opened, opened.model)
        change(document)
        with _staging(target, os.fspath(out)) as folder:
            staged = os.path.join(folder, os.path.basename(target))
            data = _data_name(target) if used else None
            if data is not None:
                with open(os.path.join(folder, data), "wb") as file:
                    document.write_external(file, data)
            with open(staged, "wb") as file:
                digest = document.write(file)
            notes = _checked(staged, source, opened.path)
            if verify is not None:
                verify(staged)
            # what the model itself keeps there is replaced with it
            itself = (
                isinstance(source, str | os.PathLike)
                and os.path.exists(target)
                and os.path.samefile(source, target)
            )
            _commit(folder, target, data, set() if itself else used)
    return Written(os.fsdecode(os.fspath(out)), digest, notes)


def _external_files(model: ModelProto, folder: str | None) -> set[str]:
    locations = {
        e.value for tensor in external_tensors(model) for e in tensor.external_data if e.key == "location"
    }
    return {os.path.realpath(os.path.join(folder or "", location)) for location in locations}


def _data_name(target: str) -> str:
    """A name beside the target for the external data, which nothing has."""
    name, count = f"{os.path.basename(target)}.data", 1
    while os.path.lexists(os.path.join(os.path.dirname(target), name)):
        count += 1
        name = f"{os.path.basename(target)}.{count}.data"
    return name


def _commit(staging: str, target: str, data: str | None, used: set[str]) -> None:
    """Move the finished files into place: after every step the target is what it was, or what it is to be.
    used: data of the model that the new one is made from, which stays."""
    folder, name = os.path.split(target)
    staged, old = os.path.join(staging, name), _replaced_data(target) - used
    mode = os.stat(target).st_mode & 0o7777 if os.path.exists(target) else None
    if mode is not None:
        os.chmod(staged, mode)
    sync(staged)
    placed = None
    try:
        if data is not None or old:
            with open(os.path.join(staging, _NOTE), "w", encoding="utf-8") as note:
                json.dump(
                    {
                        "target": name,
                        "data": sorted({*([data] if data else ()), *map(os.path.basename, old)}),
                    },
                    note,
                )
            sync(os.path.join(staging, _NOTE))
        if data is not None:
            sync(os.path.join(staging, data))
            # taken first, so that nobody else's file is replaced
            os.close(os.open(os.path.join(folder, data), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            placed = os.path.join(folder, data)
            os.replace(os.path.join(staging, data), placed)
            sync(folder)
        os.replace(staged, target)
        placed = None
    finally:
        if placed is not None:
            os.unlink(placed)
    sync(folder)
    for path in old:
        with suppress(OSError):
            if not _mentioned(path):
                os.unlink(path)


def _replaced_data(target: str) -> set[str]:
    """Files of external data that a model which is about to be replaced has for itself: beside it, and of the
    names that are given here."""
    own = re.compile(re.escape(os.path.basename(target)) + r"(\.[0-9]+)?\.data")
    try:
        with open_source(target, hashed=False) as opened:
            found = _external_files(opened.model, opened.tensors.folder)
    except OnnxPathError:
        return set()
    return {
        path
        for path in found
        if own.fullmatch(os.path.basename(path)) and os.path.dirname(path) == os.path.dirname(target)
    }


def _mentioned(path: str) -> bool:
    """Whether a model in the folder names this file, or may."""
    folder, name = os.path.split(path)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".onnx") and entry.is_file() and entry.stat().st_size:
                with (
                    open(entry.path, "rb") as file,
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
                ):
                    if view.find(os.fsencode(name)) >= 0:
                        return True
    return False


def _settled(staging: str) -> bool:
    """Finish what a killed run began: of the data files that it noted, those go that no model in the folder
    names."""
    folder = os.path.dirname(staging)
    try:
        with open(os.path.join(staging, _NOTE), encoding="utf-8") as stream:
            note = json.load(stream)
        target, data = note["target"], note["data"]
        own = re.compile(re.escape(target) + r"(\.[0-9]+)?\.data")
        for name in data:
            path = os.path.join(folder, name)
            if own.fullmatch(name) and os.path.lexists(path) and not _mentioned(path):
                os.unlink(path)
    except FileNotFoundError:
        return True  # killed before anything was moved
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


@contextmanager
def _staging(target: str, name: "str | bytes") -> Iterator[str]:
    with _leaving():
        try:
            with temporary_folder(os.path.dirname(target), _settled) as folder:
                yield folder
        except OSError as error:
            raise UsageError(f"{os.fsdecode(name)}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _leaving() -> Iterator[None]:
    """Let signals that would end the process at once end it by SystemExit, so that what is staged is removed
    first."""
    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        kinds = []  # only the main thread may say what signals do
    kinds = [
        kind for kind in kinds if signal.getsignal(kind) is signal.SIG_DFL
    ]  # who handles them knows better

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    for kind in kinds:
        signal.signal(kind, leave)
    try:
        yield
    finally:
        for kind in kinds:
            signal.signal(kind, signal.SIG_DFL)


def _checked(staged: str, source: "str | os.PathLike[str] | bytes", path: str) -> tuple[str, ...]:
    notes = []
    for what, check in (("onnx.checker", _check), ("ONNX Runtime", _load)):
        why = check(staged)
        if why is None:
            continue
        if check(source) != why:
            raise ModelError(
                f"{path}: the changed model is not written, because {what} does not accept it: {why}"
            )
        notes.append(f"{what} accepts neither this file nor the original: {why}")
    return tuple(notes)


def _line(error: Exception) -> str:
    """The first line, without the name of the file that ONNX Runtime puts into it."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.partition(" failed:")[2].strip() or line


def _check(model: "str | os.PathLike[str] | bytes") -> str | None:
    """Why onnx.checker refuses a model, or None."""
    try:
        onnx.checker.check_model(os.fsdecode(model) if isinstance(model, str | os.PathLike) else model)
    except Exception as error:
        return _line(error)
    return None


def _load(model: "str | os.PathLike[str] | bytes") -> str | None:
    """Why ONNX Runtime cannot load a model, or None."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        given = os.fsdecode(model) if isinstance(model, str | os.PathLike) else model
        onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        return _line(error)
    return None
