"""onnxpath: how far apart two neural networks are, from the weights of their ONNX files.

    import onnxpath

    onnxpath.path_norm("model.onnx", q=2)                   # ‖Φ(θ)‖₂
    onnxpath.path_metric("old.onnx", "new.onnx").to_dict()  # ‖Φ(θ) - Φ(θ')‖₁, an interval where it is not
                                                            exact
    onnxpath.bound("old.onnx", "new.onnx", onnxpath.Domain.box(0, 1))   # how much the outputs can differ, at
                                                                        worst
    onnxpath.check("old.onnx", "new.onnx", max_relative="1%").passed
    onnxpath.compare("old.onnx", "new.onnx").largest        # both files as ONNX Runtime runs them
    onnxpath.quantize("model.onnx", "int8.onnx", budget="metric=1%", bits=(4, 8, 16))
    onnxpath.inspect("model.onnx")
    onnxpath.lipschitz_bounds("old.onnx", "new.onnx")       # every Lipschitz bound of the paper
    onnxpath.generalization_bounds("model.onnx", 60_000)

Every function takes a path, bytes, an onnx.ModelProto or a loaded `Network`, and returns a frozen record with
`.to_dict()`. Heavy packages are imported when they are first needed.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if not (_here := Path(__file__).parent).joinpath("cli").is_dir():
    # in a clone, as this package is found there: the command line is its folder cli/, which an installation
    # puts into this one
    __path__.append(str(_here.parent))

from onnxpath.api import (
    bound,
    certify,
    check,
    compare,
    generalization_bounds,
    inspect,
    lipschitz_bounds,
    load,
    path_costs,
    path_metric,
    path_norm,
)
from onnxpath.api_files import prune, quantize, rescale
from onnxpath.errors import (
    MismatchError,
    ModelError,
    OnnxPathError,
    ProviderError,
    UnsupportedError,
    UsageError,
    ViolationError,
)

if TYPE_CHECKING:
    from onnxpath.model.domain import Domain

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
    "Domain",
    "MismatchError",
    "ModelError",
    "OnnxPathError",
    "ProviderError",
    "UnsupportedError",
    "UsageError",
    "ViolationError",
]


def __getattr__(name: str) -> object:
    if name == "Domain":
        from onnxpath.model.domain import Domain

        return Domain
    raise AttributeError(f"module 'onnxpath' has no attribute '{name}'")
