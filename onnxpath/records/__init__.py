"""Result records, one file per document: frozen, with a JSON form (`to_dict`) that holds no NaN, no Infinity
and no timestamp.

A file is imported when one of its records is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxpath.records.base import Tool, finite, number
    from onnxpath.records.bound import (
        Bound,
        BoundOutput,
        BoundSide,
        Compared,
        Flips,
        Injection,
        InputBound,
        Largest,
        Margin,
        QuantizerRange,
    )
    from onnxpath.records.certify import Certificates, Change, InputCertificate
    from onnxpath.records.check import Budget, Check, CheckedPair
    from onnxpath.records.compare import ComparedOutput, Comparison
    from onnxpath.records.costs import LayerCost, ParameterCost, PathCosts
    from onnxpath.records.files import FileSide, FilesSeen
    from onnxpath.records.generalization import Covering, Gap, Generalization, Rate
    from onnxpath.records.inspection import Inspection, Path, Tensor
    from onnxpath.records.lipschitz import InputLipschitz, Lipschitz
    from onnxpath.records.metric import Estimate, Euclidean, Interval, Layer, MetricOutput, PathMetric, Side
    from onnxpath.records.norm import Norm, NormOutput, PathNorms
    from onnxpath.records.prune import Certificate, DomainBound, Overlap, Pruned, PrunedFile, PrunedLayer
    from onnxpath.records.quantize import (
        Blame,
        BlamedLayer,
        LimitedBudget,
        Points,
        QuantizationCertificate,
        Quantized,
        QuantizedBound,
        QuantizedFile,
        QuantizedLayer,
        Sweep,
        SweptLayer,
        SweptWidth,
    )
    from onnxpath.records.rescaling import Factors, OutputDifference, Rescaling

_FILES = {
    "base": ("Tool", "finite", "number"),
    "bound": (
        "Bound",
        "BoundOutput",
        "BoundSide",
        "Compared",
        "Flips",
        "Injection",
        "InputBound",
        "Largest",
        "Margin",
        "QuantizerRange",
    ),
    "certify": ("Certificates", "Change", "InputCertificate"),
    "check": ("Budget", "Check", "CheckedPair"),
    "compare": ("ComparedOutput", "Comparison"),
    "costs": ("LayerCost", "ParameterCost", "PathCosts"),
    "files": ("FileSide", "FilesSeen"),
    "generalization": ("Covering", "Gap", "Generalization", "Rate"),
    "inspection": ("Inspection", "Path", "Tensor"),
    "lipschitz": ("InputLipschitz", "Lipschitz"),
    "metric": ("Estimate", "Euclidean", "Interval", "Layer", "MetricOutput", "PathMetric", "Side"),
    "norm": ("Norm", "NormOutput", "PathNorms"),
    "prune": ("Certificate", "DomainBound", "Overlap", "Pruned", "PrunedFile", "PrunedLayer"),
    "quantize": (
        "Blame",
        "BlamedLayer",
        "LimitedBudget",
        "Points",
        "QuantizationCertificate",
        "Quantized",
        "QuantizedBound",
        "QuantizedFile",
        "QuantizedLayer",
        "Sweep",
        "SweptLayer",
        "SweptWidth",
    ),
    "rescaling": ("Factors", "OutputDifference", "Rescaling"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}
__all__ = [*_FILE_OF]


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module 'onnxpath.records' has no attribute '{name}'")
    found = getattr(import_module(f"onnxpath.records.{_FILE_OF[name]}"), name)
    globals()[name] = found
    return found
