"""The Python interface: the same results as the commands, as functions that `onnxpath` hands out.

Every function takes a path, bytes, an onnx.ModelProto or a loaded `Network`, and returns a frozen record.
provider, precision, threads: where passes are evaluated (`onnxpath.engine.session.Device`). file_provider,
file_options: how the files themselves are run (docs/running.md).
"""

from onnxpath.api.files import prune, quantize, rescale
from onnxpath.api.networks import (
    generalization_bounds,
    inspect,
    lipschitz_bounds,
    load,
    path_costs,
    path_norm,
)
from onnxpath.api.pairs import bound, certify, check, compare, path_metric

__all__ = [
    "bound",
    "certify",
    "check",
    "compare",
    "generalization_bounds",
    "inspect",
    "lipschitz_bounds",
    "load",
    "path_costs",
    "path_metric",
    "path_norm",
    "prune",
    "quantize",
    "rescale",
]
