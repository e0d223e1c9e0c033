"""Edit, verify, certify, move: how `prune`, `quantize` and `rescale` write a changed copy of an ONNX file.

    edit        a `Document` is changed, and written into a folder of its own beside the target
    verify      onnx.checker and ONNX Runtime accept it (acceptance.py), and what was meant is in it: `verify`
    certify     the certificate is in the file's metadata, and beside the file before the file is there
    move        model, external data and certificate take their places, whole or not at all (moving.py)

Only what was meant to change differs from the source, which is never modified.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from onnxpath.errors import ModelError
from onnxpath.exporter.acceptance import accepted
from onnxpath.exporter.certified import Certified, certificate_path
from onnxpath.exporter.document import Document
from onnxpath.exporter.moving import data_name, move, staging
from onnxpath.exporter.targets import check_data, check_target, external_files
from onnxpath.importer.decode.reading import open_source


@dataclass(frozen=True)
class Written:
    """The file that was written, the sha256 of its bytes, and checks that neither it nor its source
    passes."""

    path: str
    sha256: str
    notes: tuple[str, ...] = ()


def write(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto",
    edits: Mapping[str, np.ndarray],
    out: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
    verify: Callable[[str], None] | None = None,
    certified: Certified | None = None,
) -> Written:
    """Write a copy of a model in which some tensors have other values.

    source: a path, bytes or an onnx.ModelProto; never modified. edits: new values by the name of the file's
    tensor (`Placement.tensor`), each of that tensor's shape, any real dtype; they are stored in the tensor's
    own type and field.
    metadata: entries added to the model's metadata. force: allow OUT to be the source. verify, certified: see
        `write_changed`.

    Raises UsageError for a target that cannot be written, is the source, or for values that do not fit a
    tensor (its shape, or its range: float16 ends at 65504); ModelError when the result is not a valid model.
    """

    def change(document: Document) -> None:
        document.replace(edits)
        document.describe(metadata or {})

    return write_changed(source, change, out, force, verify, certified)


def write_changed(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto",
    change: Callable[[Document], None],
    out: str | os.PathLike[str],
    force: bool = False,
    verify: Callable[[str], None] | None = None,
    certified: Certified | None = None,
) -> Written:
    """`write` for any change of the document. verify: sees the path of the finished file before it is moved
    into place, and raises to keep it from being. certified: what is claimed of the file."""
    target = check_target(source, out, force)
    given = _given(source)
    with open_source(given, hashed=False) as opened:
        used = external_files(opened.model, opened.tensors.folder)
        check_data(os.fsdecode(os.fspath(out)), target, used, opened.path)
        document = Document(opened, opened.model)
        change(document)
        if certified is not None:
            document.describe(certified.metadata())
        with staging(target, os.fspath(out)) as folder:
            staged = os.path.join(folder, os.path.basename(target))
            data = data_name(target) if used else None
            if data is not None:
                with open(os.path.join(folder, data), "wb") as file:
                    document.write_external(file, data)
            with open(staged, "wb") as file:
                digest = document.write(file)
            notes = accepted(staged, given, opened.path)
            if verify is not None:
                verify(staged)
            # what the model itself keeps there is replaced with it
            keep = set() if _same(given, target) else used
            move(folder, target, data, keep, None if certified is None else certified.beside(out))
    if certified is None and os.path.exists(stale := certificate_path(out)):
        notes = (*notes, f"{stale} beside it is of the file that was there before")
    return Written(os.fsdecode(os.fspath(out)), digest, notes)


def _given(source: "str | os.PathLike[str] | bytes | onnx.ModelProto") -> "str | os.PathLike[str] | bytes":
    """A path, or a serialized model."""
    if isinstance(source, str | os.PathLike | bytes):
        return source
    try:
        return bytes(source) if isinstance(source, bytearray | memoryview) else source.SerializeToString()
    except Exception as error:
        raise ModelError("<model>: larger than 2 GB: save it with external data and give its path") from error


def _same(source: "str | os.PathLike[str] | bytes", target: str) -> bool:
    return (
        isinstance(source, str | os.PathLike) and os.path.exists(target) and os.path.samefile(source, target)
    )
