"""What a command may write over without being told to: results of its own kind. Everything else takes
`--force`.

    kind          is recognised by
    json          a JSON object whose schema is onnxpath.*/N, but neither a baseline nor a certificate, which
                  are kept for later runs
    baseline      the schema onnxpath.baseline/N certificate onnxpath.certificate/N,
                  onnxpath.quantization-certificate/N
    journal       its first line                                npz           the comment of the archive
    markdown      a comment in the last line                    junit       the same comment above its root
    figure        the program that it names others the comment in the first line or the last, or `# onnxpath`
    model         an ONNX model: a new model takes the place of an old one, as every converter does it

An empty file holds nothing to lose, and a pipe or a device is written to.
"""

import json
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from onnxpath.errors import OnnxPathError, UsageError
from onnxpath.files.writing import COMMENT, MARK
from onnxpath.importer.decode.reading import open_source

JOURNAL_MARK = b'{"schema": "onnxpath.certify.journal/'
_KEPT = ("onnxpath.baseline/", "onnxpath.certificate/", "onnxpath.quantization-certificate/")
_ENDS, _LARGEST = 2048, 1 << 30

_NAMES = {
    "json": "a JSON result", "markdown": "a markdown result", "junit": "a JUnit report", "figure": "a figure",
    "npz": "an array file",
    "journal": "a file to resume from", "baseline": "a baseline", "certificate": "a certificate",
}  # fmt: skip


def _schema(path: str) -> str:
    if os.path.getsize(path) > _LARGEST:
        return ""
    with open(path, encoding="utf-8") as stream:
        document = json.load(stream)
    found = document.get("schema") if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""


def _archive(path: str) -> bool:
    with zipfile.ZipFile(path) as archive:
        return archive.comment.startswith(MARK.encode())


def _ends(path: str) -> tuple[bytes, bytes]:
    """The beginning and the end of a file."""
    with open(path, "rb") as stream:
        head = stream.read(_ENDS)
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _ENDS))
        return head, stream.read()


def _markdown(path: str) -> bool:
    return _ends(path)[1].rstrip().endswith(COMMENT.encode())


def _junit(path: str) -> bool:
    head = _ends(path)[0]
    return head.startswith(b"<?xml") and f"{COMMENT}\n<testsuites".encode() in head


def _figure(path: str) -> bool:
    head = _ends(path)[0]
    return MARK.encode() in head and (head.startswith(b"\x89PNG") or b"<svg" in head)


def _page(path: str) -> bool:
    """Any other text: the mark as a comment in its first line or its last."""
    head, tail = _ends(path)
    return any(
        line.strip(b"# ") in (COMMENT.encode(), MARK.encode())
        for line in (head.split(b"\n")[0], tail.rstrip().split(b"\n")[-1])
    )


def _journal(path: str) -> bool:
    with open(path, "rb") as stream:
        return stream.read(len(JOURNAL_MARK)) == JOURNAL_MARK


def _model(path: str) -> bool:
    with open_source(path, hashed=False) as source:
        return source.model.HasField("graph") and bool(source.model.ir_version or source.model.graph.node)


_RECOGNISED: dict[str, Callable[[str], bool]] = {
    "json": lambda path: _schema(path).startswith("onnxpath.") and not _schema(path).startswith(_KEPT),
    "baseline": lambda path: _schema(path).startswith(_KEPT[0]),
    "certificate": lambda path: _schema(path).startswith(_KEPT[1:]),
    "markdown": _markdown,
    "junit": _junit,
    "figure": _figure,
    "npz": _archive,
    "journal": _journal,
    "model": _model,
}


def recognised(path: str, kind: str) -> bool:
    """Whether a file is a result of this package of that kind."""
    try:
        return _RECOGNISED.get(kind, _page)(path)
    except (OnnxPathError, OSError, ValueError, RecursionError, zipfile.BadZipFile):
        return False


def check(path: str, kind: str, force: bool = False) -> None:
    """UsageError where writing would take the place of something that is not of this kind, unless `force`."""
    if force:
        return
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return  # there is nothing, or writing will say what is wrong
    if not stat.S_ISREG(status.st_mode) or not status.st_size or recognised(path, kind):
        return
    what = (
        "an ONNX model" if kind == "model" else f"{_NAMES.get(kind, f'a result of kind {kind}')} of onnxpath"
    )
    raise UsageError(f"{path}: exists and is not {what}; give another name, or --force to replace it")


def save_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray | Any]) -> None:
    """An .npz file like NumPy's, without the time of day in it, and with the mark."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
        archive.comment = MARK.encode()
