"""`Network` parameters -> a copy of the ONNX file that they came from, unchanged elsewhere.

    place = locate(network, node.weight)                      which tensor of the file, and which cells of it
    array = network.origin.tensors[place.tensor].copy()
    place.view(array)[mask] = 0
    write("model.onnx", {place.tensor: array}, "pruned.onnx", {"key": "value"})

onnx and ONNX Runtime are imported when something is written.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxpath.exporter.certified import Certified
from onnxpath.exporter.placement import Placement, locate

if TYPE_CHECKING:
    import onnx

    from onnxpath.exporter.writing import Written

__all__ = ["Certified", "Placement", "check_target", "check_targets", "locate", "write"]


def write(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto",
    edits: Mapping[str, np.ndarray],
    out: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
    verify: Callable[[str], None] | None = None,
    certified: Certified | None = None,
) -> "Written":
    """Write a copy of a model in which some tensors have other values; see
    `onnxpath.exporter.writing.write`."""
    from onnxpath.exporter.writing import write as write_file

    return write_file(source, edits, out, metadata, force, verify, certified)


def check_target(source: object, out: str | os.PathLike[str], force: bool = False) -> str:
    """The real path of OUT; UsageError when no file can be written there, or when it is the source and not
    `force`."""
    from onnxpath.exporter.targets import check_target as check

    return check(source, out, force)


def check_targets(
    source: object,
    models: Sequence[str],
    others: Sequence[tuple[str | None, str]] = (),
    force: bool = False,
    certified: bool = True,
) -> None:
    """What can be told of the files to write before anything is computed; see
    `onnxpath.exporter.targets.check_targets`."""
    from onnxpath.exporter.targets import check_targets as check

    check(source, models, others, force, certified)
