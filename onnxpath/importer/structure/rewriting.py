"""Writing the nodes that one node of a file becomes before it is read: operators on packed or integer tensors
as standard ones."""

from typing import Any

import onnx
from onnx import helper


class Writer:
    """The nodes that one node of the file becomes."""

    def __init__(self, node: onnx.NodeProto, taken: set[str]):
        self.node, self.taken = node, taken
        self.made: list[onnx.NodeProto] = []
        self.attributes = {attribute.name: attribute for attribute in node.attribute}

    def input(self, index: int) -> str:
        return self.node.input[index] if index < len(self.node.input) else ""

    def integer(self, name: str, default: int = 0) -> int:
        return self.attributes[name].i if name in self.attributes else default

    def name(self, what: str) -> str:
        label = f"{self.node.output[0]}/{what}"
        name = next(
            text for k in range(len(self.taken) + 1) if (text := f"{label}{k or ''}") not in self.taken
        )
        self.taken.add(name)
        return name

    def emit(self, op: str, inputs: list[str], output: str, name: str, **attributes: Any) -> str:
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.made.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def read(self, x: int, scale: int | None = None, **attributes: int) -> str:
        """Operand x as a float, with its scale and zero point behind it (or at `scale`)."""
        at = x + 1 if scale is None else scale
        output = self.name(f"dequantized {x}")
        return self.emit(
            "DequantizeLinear", [self.input(x), self.input(at), self.input(at + 1)], output, "", **attributes
        )

    def bias(self, index: int, first: int, second: int) -> str:
        """A bias of 32 bits, whose step is the product of two scales; '' where there is none."""
        if not self.input(index):
            return ""
        step = self.emit("Mul", [self.input(first), self.input(second)], self.name("bias scale"), "")
        return self.emit("DequantizeLinear", [self.input(index), step], self.name("bias"), "", axis=0)

    def compute(self, op: str, inputs: list[str], dropped: tuple[str, ...] = (), output: str = "") -> str:
        """The operator on floats, with the node's name and attributes."""
        made = helper.make_node(op, inputs, [output or self.name("result")], name=self.node.name)
        made.attribute.extend(attribute for name, attribute in self.attributes.items() if name not in dropped)
        self.made.append(made)
        return made.output[0]

    def write(self, result: str, scale: int) -> None:
        name = f"{self.node.name or self.node.output[0]}_QuantizeLinear"
        self.emit(
            "QuantizeLinear", [result, self.input(scale), self.input(scale + 1)], self.node.output[0], name
        )
