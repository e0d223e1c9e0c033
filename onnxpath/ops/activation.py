"""Activation: y = f(x) cell by cell, for a function f outside the paper's model that has a Lipschitz
constant.

Attributes: `function`, a name in `FUNCTIONS`, and `parameters`, its numbers in the record's order. Not
positively homogeneous (Abs is, but is treated alike): no rescaling passes through it. The records are in
piecewise.py, smooth.py and gated.py.
"""

from collections.abc import Sequence
from math import log2

from onnxpath.errors import MissingFactError
from onnxpath.model.network import Site
from onnxpath.ops import gated, piecewise, smooth
from onnxpath.ops.function import Constants, Function
from onnxpath.ops.graph import Graph
from onnxpath.ops.norms import NormKind
from onnxpath.ops.operator import Operator, always, same_image

_MODULES = (piecewise, smooth, gated)
FUNCTIONS: dict[str, Function] = {f.name: f for module in _MODULES for f in module.FUNCTIONS}


def function(site: Site) -> Function:
    return FUNCTIONS[site["function"]]


def _constants(site: Site) -> Constants:
    return function(site).constants(*site["parameters"])


def _emit(g: Graph, site: Site, inputs: list[str], weight: str | None = None, bias: str | None = None) -> str:
    return function(site).emit(g, inputs[0], *site["parameters"])


def _slope(g: Graph, site: Site, x: str, weight: str | None = None) -> str:
    return function(site).slope(g, x, *site["parameters"])


def _norm(site: Site, kind: NormKind, norms: Sequence[float]) -> float:
    """‖f(x)‖ <= L ‖x‖ where f fixes 0, cell by cell."""
    constants, (x,) = _constants(site), norms
    if constants.at_zero or constants.jump:
        raise MissingFactError(
            f"Activation ({site['function']})", "the norm of a function that does not fix 0, or jumps"
        )
    return x + log2(constants.lipschitz)


def _projection(site: Site) -> bool:
    """Clips are all the projections of the line onto intervals."""
    return site["function"] == "Clip"


OPERATOR = Operator(
    name="Activation", kind="activation", emit=_emit, adjoints={"slope": _slope}, image=same_image,
    constants=_constants, homogeneous=False, projection=_projection,
    norm=_norm, keeps_batch=always,
)  # fmt: skip
