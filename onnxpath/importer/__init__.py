"""ONNX file -> `Network`: reading, constant folding, lowering to the canonical operators, simplification."""

from onnxpath.importer.driver import load

__all__ = ["load"]
