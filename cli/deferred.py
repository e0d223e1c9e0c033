"""What the commands compute with, imported when one first asks for it: `deferred.norm.path_norms(...)`.

Help and shell completion read the file of a command, and should not wait for NumPy, onnx and ONNX Runtime. So
a command imports at its top what declares it, and finds the rest here, by the names that are imported below
for types.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

_FOLDERS = {
    "importlib": ("metadata",),
    "onnxpath": ("importer",),
    "onnxpath.analyses": ("inspect", "pairs", "rescale"),
    "onnxpath.analyses.bound": ("bound",),
    "onnxpath.analyses.certify": ("certifier", "certify"),
    "onnxpath.analyses.check": ("budgets", "checking", "configuration", "gates"),
    "onnxpath.analyses.metric": ("metric", "norm"),
    "onnxpath.analyses.prune": ("criteria",),
    "onnxpath.analyses.quantize": ("settings", "work"),
    "onnxpath.analyses.theory": ("generalization", "lipschitz"),
    "onnxpath.api": ("running",),
    "onnxpath.cli": ("junit", "progress", "terminal"),
    "onnxpath.engine": ("dump", "session"),
    "onnxpath.files": ("npz", "overwriting", "runtime"),
    "onnxpath.model": ("domain",),
}
_MODULES = {name: f"{folder}.{name}" for folder, names in _FOLDERS.items() for name in names} | {
    "numpy": "numpy",
    "pruning": "onnxpath.analyses.prune.files",
    "quantizing": "onnxpath.analyses.quantize.files",
}


def __getattr__(name: str) -> ModuleType:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return import_module(_MODULES[name])
