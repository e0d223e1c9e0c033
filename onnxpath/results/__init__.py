"""Result records, one file per document: frozen, with a JSON form (`to_dict`) that holds no NaN, no Infinity and no timestamp."""

from onnxpath.results.base import Tool, finite, number
from onnxpath.results.bound import Bound, BoundOutput, BoundSide, Compared, Flips, InputBound, Largest, Margin
from onnxpath.results.certify import Certificates, Change, InputCertificate
from onnxpath.results.inspection import Inspection, Tensor
from onnxpath.results.metric import Interval, Layer, MetricOutput, PathMetric, Side
from onnxpath.results.norm import Norm, NormOutput, PathNorms

__all__ = [
    "Bound", "BoundOutput", "BoundSide", "Certificates", "Change", "Compared", "Flips", "InputBound", "InputCertificate", "Inspection", "Interval", "Largest", "Layer", "Margin",
    "MetricOutput", "Norm", "NormOutput", "PathMetric", "PathNorms", "Side", "Tensor", "Tool", "finite", "number",
]  # fmt: skip
