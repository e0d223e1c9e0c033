"""What activations are spelled with is rounded correctly by IEEE arithmetic, or probed on the device
(`onnxpath.engine.probe`): a new function cannot bring in a kernel that nobody looked at."""

import numpy as np
import pytest

from onnxpath.engine import probe
from onnxpath.engine.primitives import PRIMITIVES
from onnxpath.ops.activation import FUNCTIONS

EXACT = {"Add", "Sub", "Mul", "Div", "Sqrt", "Max", "Min", "Neg", "Abs", "Sign", "Relu"}


class Spelled:
    """Stands for a graph, and keeps the operators that are written to it."""

    native_conv = True

    def __init__(self, dtype: type):
        self.dtype, self.operators = np.dtype(dtype), set()

    def op(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        self.operators.add(op_type)
        return "y"

    def scalar(self, value: float) -> str:
        return "c"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_are_made_of_what_is_probed(name: str, dtype: type) -> None:
    function, g = FUNCTIONS[name], Spelled(dtype)
    numbers = (0.04,) if name == "GeluTanh" else ()
    numbers = (*(1.0 for _ in function.parameters[len(numbers) :]), *numbers)
    function.emit(g, "x", *numbers)
    function.slope(g, "x", *numbers)
    assert g.operators <= EXACT | set(PRIMITIVES)


def test_every_primitive_is_probed() -> None:
    assert set(PRIMITIVES) <= {case.op for case in probe.needed()}
