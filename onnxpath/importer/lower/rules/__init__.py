"""One file per family of ONNX operators. Importing this package registers all rules in `context.RULES` and
`context.EXTENDED`."""

from onnxpath.importer.lower.context import EXTENDED, RULES
from onnxpath.importer.lower.rules import (
    activation,
    arithmetic,
    concat,
    convolution,
    extended,
    indexing,
    matmul,
    movement,
    normalization,
    padding,
    pooling,
    quantizers,
    reduce,
    resize,
)
from onnxpath.importer.lower.rules.refused import reason

__all__ = [
    "EXTENDED", "RULES", "activation", "arithmetic", "concat", "convolution", "extended", "indexing",
    "matmul", "movement", "normalization", "padding",
    "pooling", "quantizers", "reason", "reduce", "resize",
]  # fmt: skip
