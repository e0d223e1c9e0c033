"""What the commands compute with, imported when one first asks for it: `deferred.norm.path_norms(...)`.

Help and shell completion read the file of a command, and should not wait for NumPy, onnx and ONNX Runtime. So
a command imports at its top what declares it, and finds the rest here, by the names that are imported below
for types.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib import metadata

    import numpy

    from onnxpath import importer
    from onnxpath.analyses import inspect, pairs, rescale
    from onnxpath.analyses.bound import bound
    from onnxpath.analyses.certify import certifier, certify
    from onnxpath.analyses.check import budgets, checking, configuration, gates
    from onnxpath.analyses.metric import metric, norm
    from onnxpath.analyses.prune import criteria
    from onnxpath.analyses.prune import files as pruning
    from onnxpath.analyses.quantize import files as quantizing
    from onnxpath.analyses.quantize import settings, work
    from onnxpath.analyses.theory import generalization, lipschitz
    from onnxpath.api import running
    from onnxpath.cli import junit, progress, terminal
    from onnxpath.engine import dump, session
    from onnxpath.files import npz, overwriting, runtime
    from onnxpath.model import domain

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
