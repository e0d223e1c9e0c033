"""`Network` parameters -> a copy of the ONNX file that they came from, unchanged elsewhere.

place = locate(network, node.weight)                      which tensor of the file, and which cells of it
array = network.origin.tensors[place.tensor].copy()
place.view(array)[mask] = 0
write("model.onnx", {place.tensor: array}, "pruned.onnx", {"key": "value"})
"""

from onnxpath.exporter.certified import Certified
from onnxpath.exporter.placement import Placement, locate
from onnxpath.exporter.targets import check_target, check_targets
from onnxpath.exporter.writing import write

__all__ = ["Certified", "Placement", "check_target", "check_targets", "locate", "write"]
