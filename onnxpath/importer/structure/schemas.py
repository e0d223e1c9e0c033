"""Operators that the importer evaluates beside those of ONNX: their schemas, for the checks that every node
goes through."""

from collections.abc import Callable
from functools import cache

import numpy as np
from onnx.defs import OpSchema

from onnxpath.importer.lower.context import Context, FileNode
from onnxpath.importer.structure import packed, qonnx

EVALUATED: dict[str, Callable[[Context, FileNode, list[np.ndarray]], np.ndarray]] = {
    qonnx.QUANT: qonnx.evaluate, packed.DEQUANTIZE: packed.evaluate,
}  # fmt: skip
"""How a node is evaluated whose operands are constants."""

_INPUTS = {
    qonnx.QUANT: (("x", "scale", "zero", "bits"), 4),
    packed.DEQUANTIZE: (("packed", "scales", "zeros"), 2),
}
_INTEGERS = {qonnx.QUANT: ("signed", "narrow"), packed.DEQUANTIZE: ("K", "N", "bits", "block_size")}
_TEXTS = {qonnx.QUANT: ("rounding_mode",), packed.DEQUANTIZE: ()}


@cache
def schema(op_type: str) -> OpSchema | None:
    """The schema of one of these operators; None for another name."""
    if op_type not in EVALUATED:
        return None
    names, needed = _INPUTS[op_type]
    option = OpSchema.FormalParameterOption
    inputs = [
        OpSchema.FormalParameter(
            name, "T" if k == 0 else f"T{k}", param_option=option.Single if k < needed else option.Optional
        )
        for k, name in enumerate(names)
    ]
    kinds = [
        f"tensor({kind})"
        for kind in ("float", "double", "float16", "bfloat16", "int64", "int32", "int8", "uint8")
    ]
    attributes = [OpSchema.Attribute(name, OpSchema.AttrType.INT) for name in _INTEGERS[op_type]]
    attributes += [OpSchema.Attribute(name, OpSchema.AttrType.STRING) for name in _TEXTS[op_type]]
    return OpSchema(
        op_type, "", 1, inputs=inputs, outputs=[OpSchema.FormalParameter("y", "T")],
        type_constraints=[("T" if k == 0 else f"T{k}", kinds, "") for k in range(len(names))],
        attributes=attributes,
    )  # fmt: skip
