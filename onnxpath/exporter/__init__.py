"""`Network` parameters -> a copy of the ONNX file that they came from, unchanged elsewhere.

    place = locate(network, node.weight)                      which tensor of the file, and which cells of it
    array = network.origin.tensors[place.tensor].copy()
    place.view(array)[mask] = 0
    write("model.onnx", {place.tensor: array}, "pruned.onnx", {"key": "value"})

onnx and ONNX Runtime are imported when something is written.
"""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from onnxpath.exporter.placement import Placement, locate

if TYPE_CHECKING:
    import onnx

    from onnxpath.exporter.writing import Written

__all__ = ["Placement", "check_target", "locate", "write"]


def write(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto",
    edits: Mapping[str, np.ndarray],
    out: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
    verify: Callable[[str], None] | None = None,
) -> "Written":
    """Write a copy of a model in which some tensors have other values; see
    `onnxpath.exporter.writing.write`."""
    from onnxpath.exporter.writing import write as write_file

    return write_file(source, edits, out, metadata, force, verify)


def check_target(source: object, out: str | os.PathLike[str], force: bool = False) -> str:
    """The real path of OUT; UsageError when no file can be written there, or when it is the source and not
    `force`."""
    from onnxpath.exporter.writing import check_target as check

    return check(source, out, force)
