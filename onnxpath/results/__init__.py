"""Result records, one file per document: frozen, with a JSON form (`to_dict`) that holds no NaN, no Infinity and no timestamp."""

from onnxpath.results.base import Tool, finite, number
from onnxpath.results.bound import Bound, BoundOutput, BoundSide, Compared, Flips, InputBound, Largest, Margin
from onnxpath.results.costs import LayerCost, ParameterCost, PathCosts
from onnxpath.results.inspection import Inspection, Tensor
from onnxpath.results.metric import Interval, Layer, MetricOutput, PathMetric, Side
from onnxpath.results.norm import Norm, NormOutput, PathNorms
from onnxpath.results.prune import Certificate, DomainBound, Overlap, Pruned, PrunedFile, PrunedLayer
from onnxpath.results.rescaling import Factors, OutputDifference, Rescaling

__all__ = [
    "Bound", "BoundOutput", "BoundSide", "Certificate", "Compared", "DomainBound", "Factors", "Flips", "InputBound", "Inspection",
    "Interval", "Largest", "Layer", "LayerCost", "Margin", "MetricOutput", "Norm", "NormOutput", "OutputDifference", "Overlap",
    "ParameterCost", "PathCosts", "PathMetric", "PathNorms", "Pruned", "PrunedFile", "PrunedLayer", "Rescaling", "Side", "Tensor", "Tool",
    "finite", "number",
]  # fmt: skip
