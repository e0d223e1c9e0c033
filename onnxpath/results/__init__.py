"""Result records, one file per document: frozen, with a JSON form (`to_dict`) that holds no NaN, no Infinity and no timestamp."""

from onnxpath.results.base import (
    Tool,
    finite,
    number,
)
from onnxpath.results.bound import (
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
from onnxpath.results.certify import (
    Certificates,
    Change,
    InputCertificate,
)
from onnxpath.results.check import (
    Budget,
    Check,
    CheckedPair,
)
from onnxpath.results.costs import (
    LayerCost,
    ParameterCost,
    PathCosts,
)
from onnxpath.results.generalization import (
    Covering,
    Gap,
    Generalization,
    Rate,
)
from onnxpath.results.inspection import (
    Inspection,
    Path,
    Tensor,
)
from onnxpath.results.lipschitz import (
    InputLipschitz,
    Lipschitz,
)
from onnxpath.results.metric import (
    Estimate,
    Euclidean,
    Interval,
    Layer,
    MetricOutput,
    PathMetric,
    Side,
)
from onnxpath.results.norm import (
    Norm,
    NormOutput,
    PathNorms,
)
from onnxpath.results.prune import (
    Certificate,
    DomainBound,
    Overlap,
    Pruned,
    PrunedFile,
    PrunedLayer,
)
from onnxpath.results.quantize import (
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
from onnxpath.results.rescaling import (
    Factors,
    OutputDifference,
    Rescaling,
)

__all__ = [
    "Injection",
    "QuantizerRange",
    "Bound",
    "BoundOutput",
    "BoundSide",
    "Budget",
    "Certificate",
    "Certificates",
    "Change",
    "Check",
    "CheckedPair",
    "Compared",
    "Covering",
    "DomainBound",
    "Estimate",
    "Euclidean",
    "Factors",
    "Flips",
    "Gap",
    "Generalization",
    "InputBound",
    "InputCertificate",
    "InputLipschitz",
    "Inspection",
    "Interval",
    "Largest",
    "Layer",
    "LayerCost",
    "Lipschitz",
    "Margin",
    "MetricOutput",
    "Norm",
    "NormOutput",
    "OutputDifference",
    "Overlap",
    "ParameterCost",
    "Path",
    "PathCosts",
    "PathMetric",
    "PathNorms",
    "Pruned",
    "PrunedFile",
    "PrunedLayer",
    "Rate",
    "Rescaling",
    "Side",
    "Tensor",
    "Tool",
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
    "finite",
    "number",
]
