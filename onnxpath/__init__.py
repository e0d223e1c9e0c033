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
`.to_dict()`. Importing `onnxpath` is cheap: what computes is imported when one of its names is first used.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not (_here := Path(__file__).parent).joinpath("cli").is_dir():
    # in a clone, as this package is found there: the command line is its folder cli/, which an installation
    # puts into this one
    __path__.append(str(_here.parent))

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
    from onnxpath.api.files import prune, quantize, rescale
    from onnxpath.api.networks import (
        generalization_bounds,
        inspect,
        lipschitz_bounds,
        load,
        path_costs,
        path_norm,
    )
    from onnxpath.api.pairs import bound, certify, check, path_metric
    from onnxpath.api.running import compare
    from onnxpath.model.domain import Domain

# What is imported when it is first asked for: NumPy, onnx and ONNX Runtime come with it.
_ROOMS = {
    "api.files": ("prune", "quantize", "rescale"),
    "api.networks": (
        "generalization_bounds",
        "inspect",
        "lipschitz_bounds",
        "load",
        "path_costs",
        "path_norm",
    ),
    "api.pairs": ("bound", "certify", "check", "path_metric"),
    "api.running": ("compare",),
    "model.domain": ("Domain",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}
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


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'onnxpath' has no attribute '{name}'")
    found = getattr(import_module(f"onnxpath.{_ROOM_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
