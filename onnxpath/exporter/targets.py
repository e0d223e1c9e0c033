"""Where a changed copy of a model may be written: what can be told before anything is computed.

A model is written with its certificate beside it, and other files with both (costs, figures). None may be
the model that is read, hold its data, or take the place of somebody else's file.
"""

import os
from collections.abc import Sequence

from onnx import ModelProto

from onnxpath.errors import UsageError
from onnxpath.exporter.certified import certificate_path
from onnxpath.files import overwriting
from onnxpath.importer.decode.content import external_tensors
from onnxpath.importer.decode.reading import open_source


def check_targets(
    source: object,
    models: Sequence[str],
    others: Sequence[tuple[str | None, str]] = (),
    force: bool = False,
    certified: bool = True,
) -> None:
    """For commands that compute for long before they write. models: the files to make of `source`, each with
    a certificate where `certified`. others: (path or None, kind) of what else is written. Raises
    UsageError."""
    written = [(path, kind) for path, kind in others if path is not None]
    if certified:
        written += [(certificate_path(path), "certificate") for path in models]
    targets = [check_target(source, path, force) for path in models]
    if len(models) > 1 and isinstance(source, str | os.PathLike):
        for path in targets:
            if os.path.exists(path) and os.path.samefile(source, path):
                raise UsageError(f"{path}: is the model that every file is made from; give another OUT")
    targets += [check_target(source, path) for path, _ in written]
    if len(set(targets)) < len(targets):
        raise UsageError("two of the files to write have the same name")
    for path, kind in (*((path, "model") for path in models), *written):
        overwriting.check(path, kind, force)


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
            check_data(name, target, external_files(opened.model, opened.tensors.folder), opened.path)
    return target


def check_data(name: str, target: str, used: set[str], path: str) -> None:
    """UsageError where a target is one of the files that a model keeps data in."""
    if target in used:
        raise UsageError(f"{name}: holds data of the model {path}; give another name")


def external_files(model: ModelProto, folder: str | None) -> set[str]:
    """The real paths of a model's external data."""
    locations = {
        e.value for tensor in external_tensors(model) for e in tensor.external_data if e.key == "location"
    }
    return {os.path.realpath(os.path.join(folder or "", location)) for location in locations}
