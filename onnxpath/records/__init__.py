"""Result records, one file per document: frozen, with a JSON form (`to_dict`) that holds no NaN, no Infinity
and no timestamp.

A file is imported when one of its records is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxpath.records.base import Place, Tool, UnitBound
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
    from onnxpath.records.certify import Certificates, Change, Classes, InputCertificate, OutputCertificate
    from onnxpath.records.check import Amount, Budget, Check, CheckedPair, LargestLayer
    from onnxpath.records.compare import (
        ComparedOutput,
        Comparison,
        Computed,
        DescribedFile,
        Differing,
        Entry,
        Mixed,
        Sizes,
    )
    from onnxpath.records.costs import LayerCost, LayerSum, ParameterCost, ParameterSum, PathCosts
    from onnxpath.records.document import Record, finite, number
    from onnxpath.records.files import FileSide, FilesSeen
    from onnxpath.records.generalization import Architecture, Covering, Gap, Generalization, Rate
    from onnxpath.records.inspection import Inspection, Path, Tensor
    from onnxpath.records.lipschitz import InputLipschitz, Lipschitz
    from onnxpath.records.metric import Estimate, Euclidean, Interval, Layer, MetricOutput, PathMetric, Side
    from onnxpath.records.norm import NeuronNorms, Norm, NormOutput, OutputNorms, PathNorms
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
    "base": ("Place", "Tool", "UnitBound"),
    "document": ("Record", "finite", "number"),
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
    "certify": ("Certificates", "Change", "Classes", "InputCertificate", "OutputCertificate"),
    "check": ("Amount", "Budget", "Check", "CheckedPair", "LargestLayer"),
    "compare": (
        "ComparedOutput",
        "Comparison",
        "Computed",
        "DescribedFile",
        "Differing",
        "Entry",
        "Mixed",
        "Sizes",
    ),
    "costs": ("LayerCost", "LayerSum", "ParameterCost", "ParameterSum", "PathCosts"),
    "files": ("FileSide", "FilesSeen"),
    "generalization": ("Architecture", "Covering", "Gap", "Generalization", "Rate"),
    "inspection": ("Inspection", "Path", "Tensor"),
    "lipschitz": ("InputLipschitz", "Lipschitz"),
    "metric": ("Estimate", "Euclidean", "Interval", "Layer", "MetricOutput", "PathMetric", "Side"),
    "norm": ("NeuronNorms", "Norm", "NormOutput", "OutputNorms", "PathNorms"),
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
