"""onnxpath: how far apart two neural networks are, from the weights of their ONNX files.

    import onnxpath

    onnxpath.path_norm("model.onnx", q=2)                   # ‖Φ(θ)‖₂
    onnxpath.path_metric("old.onnx", "new.onnx").to_dict()  # ‖Φ(θ) - Φ(θ')‖₁, an interval where it is not exact
    onnxpath.inspect("model.onnx")

Every function takes a path, bytes, an onnx.ModelProto or a loaded `Network`, and returns a frozen record with `.to_dict()`.
Heavy packages are imported when they are first needed.
"""

from onnxpath.api import inspect, load, path_costs, path_metric, path_norm, prune, rescale
from onnxpath.errors import MismatchError, ModelError, OnnxPathError, ProviderError, UnsupportedError, UsageError

__all__ = [
    "MismatchError", "ModelError", "OnnxPathError", "ProviderError", "UnsupportedError", "UsageError",
    "inspect", "load", "path_costs", "path_metric", "path_norm", "prune", "rescale",
]  # fmt: skip
