"""Cases of every canonical operator: one node each, with the shapes around it. A new operator needs an entry
here.

The float64 reference works out the value; what a case states is the geometry only.
"""

from collections.abc import Callable

import numpy as np
from oracle.sketch import Sketch
from reference_activations import FUNCTIONS, samples

from onnxpath.model.network import Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.quantizer import Quantization

# Outside the paper's model.
EXTENSIONS = tuple(name for name, operator in OPERATORS.items() if not operator.in_model)
RNG = np.random.default_rng(5)


def w(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


COPIES = np.eye(6)[:, [0, 1, 1, 5, 3, 0, 2, 2]] * [1, 1, 1, 1, 1, 1, 1, 0]
MEANS = np.array([[0.5, 0], [0.25, 0.5], [0.25, 0], [0, 0.5]])


class One(Sketch):
    """A sketch of which only the last node matters."""

    def site(self, batched: bool = True) -> Site:
        node = self._nodes[-1]
        return Site(node, tuple(self.shapes[name] for name in node.inputs), self.shapes[node.output], batched)


def one(make: Callable[[One], str], *shapes: tuple[int, ...], batched: bool = True) -> Site:
    sketch = One(**{f"x{k}": shape for k, shape in enumerate(shapes)})
    make(sketch)
    return sketch.site(batched)


def _conv(shape, weight, bias=True, **kw) -> Site:
    return one(lambda s: s.conv("x0", w(*weight), w(weight[0]) if bias else None, **kw), shape)


def _deconv(shape, weight, bias=True, group=1, **kw) -> Site:
    return one(
        lambda s: s.conv_transpose(
            "x0", w(*weight), w(weight[1] * group) if bias else None, group=group, **kw
        ),
        shape,
    )


def _matmul(shape, weight, bias=None, side="right", batched=True) -> Site:
    return one(
        lambda s: s.matmul("x0", w(*weight), None if bias is None else w(*bias), side=side),
        shape,
        batched=batched,
    )


def _stored_transposed(shape, weight, bias) -> Site:
    return one(lambda s: s.matmul("x0", w(*weight).T, w(*bias)), shape)


def _scale(shape, weight, bias, batched=True) -> Site:
    return one(
        lambda s: s.scale("x0", *(None if x is None else w(*x) for x in (weight, bias))),
        shape,
        batched=batched,
    )


def _prelu(shape, slopes, batched=True) -> Site:
    return one(lambda s: s.node("PRelu", ["x0"], shape, w(*slopes)), shape, batched=batched)


def _activation(shape, function, parameters) -> Site:
    return one(lambda s: s.activation("x0", function, *parameters), shape)


def _pools(op: str) -> dict[str, Site]:
    def pool(shape, kernel, **kw) -> Site:
        return one(lambda s: getattr(s, op)("x0", kernel, **kw), shape)

    return {
        "1-D": pool((1, 2, 7), (3,), strides=(2,)),
        "2-D even": pool((1, 3, 6, 4), (2, 2)),
        "3-D": pool((1, 2, 4, 3, 5), (2, 1, 3), strides=(2, 1, 2)),
        "overlap": pool((1, 2, 6, 5), (3, 2), strides=(1, 1)),
        "even pads": pool((1, 2, 6, 5), (3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
        "uneven pads": pool((1, 2, 6, 5), (3, 2), strides=(2, 1), pads=(0, 1, 2, 0)),
        "dilation": pool((1, 2, 8, 7), (3, 2), strides=(1, 2), dilations=(2, 3)),
        "dilation and wide pads": pool(
            (1, 2, 5, 5), (2, 2), strides=(2, 2), dilations=(3, 3), pads=(2, 1, 3, 2)
        ),
        "cells left over": pool((1, 2, 8, 8), (2, 2), strides=(3, 3)),
        "stride beyond kernel": pool((1, 1, 11), (2,), strides=(4,), pads=(1, 0)),
    }


def _reduces(op: str) -> dict[str, Site]:
    def reduce(shape, axes) -> Site:
        return one(lambda s: s.reduce(op, "x0", axes), shape)

    return {
        "last": reduce((1, 3, 4), (2,)),
        "space": reduce((1, 3, 4, 5), (2, 3)),
        "channels": reduce((1, 3, 4, 5), (1,)),
        "apart": reduce((1, 3, 4, 5), (1, 3)),
        "length 1": reduce((1, 3, 1), (2,)),
    }


def _sums(op: str) -> dict[str, Site]:
    def several(count: int, *shape: int) -> Site:
        return one(lambda s: getattr(s, op)(*(f"x{k}" for k in range(count))), *[shape] * count)

    return {"two": several(2, 1, 3, 4), "three": several(3, 1, 2, 2, 3), "vectors": several(2, 1, 5)}


CASES: dict[str, dict[str, Site]] = {
    "Conv": {
        "1-D": _conv((1, 3, 9), (4, 3, 3)),
        "2-D": _conv((1, 3, 6, 5), (4, 3, 3, 2)),
        "3-D": _conv((1, 2, 4, 5, 3), (3, 2, 2, 3, 2), pads=(1, 0, 0, 0, 1, 1), strides=(2, 1, 1)),
        "1x1": _conv((1, 5, 3, 3), (2, 5, 1, 1)),
        "no bias": _conv((1, 3, 6, 5), (4, 3, 3, 3), bias=False, pads=(1, 1, 1, 1)),
        "stride, cells unseen": _conv((1, 2, 9, 8), (3, 2, 3, 2), strides=(2, 3)),
        "stride 4, many unseen": _conv((1, 1, 12), (2, 1, 3), strides=(4,), pads=(1, 0)),
        "uneven pads": _conv((1, 2, 6, 5), (3, 2, 3, 3), pads=(0, 1, 2, 0)),
        "pads beyond the kernel": _conv((1, 2, 4, 4), (3, 2, 2, 2), pads=(2, 3, 3, 2), strides=(2, 1)),
        "dilation": _conv((1, 2, 9, 9), (3, 2, 3, 2), dilations=(2, 3), strides=(2, 1), pads=(1, 2, 0, 1)),
        "groups": _conv((1, 4, 6, 5), (6, 2, 3, 2), group=2, pads=(1, 0, 1, 1), strides=(1, 2)),
        "depthwise": _conv((1, 4, 6, 5), (4, 1, 3, 3), group=4, pads=(1, 1, 1, 1), strides=(2, 2)),
        "depthwise, multiplied": _conv((1, 3, 7), (6, 1, 3), group=3, dilations=(2,)),
        "kernel as large as the input": _conv((1, 2, 4, 3), (5, 2, 4, 3)),
        "disjoint windows": _conv((1, 2, 3, 10), (4, 2, 3, 2), dilations=(1, 5)),
        "disjoint windows, 1-D": _conv((1, 2, 12), (3, 2, 3), bias=False, dilations=(4,)),
        "disjoint windows, 1x1": _conv((1, 3, 1, 4), (2, 3, 1, 1)),
        "disjoint windows, groups": _conv((1, 4, 3, 6), (6, 2, 3, 2), group=2, dilations=(1, 3)),
    },
    "ConvTranspose": {
        "1-D": _deconv((1, 3, 5), (3, 2, 3), strides=(2,)),
        "2-D": _deconv((1, 3, 4, 3), (3, 2, 3, 2)),
        "3-D": _deconv((1, 2, 2, 3, 2), (2, 3, 2, 2, 3), strides=(2, 1, 2), pads=(0, 1, 1, 0, 0, 1)),
        "no bias": _deconv((1, 3, 4, 3), (3, 2, 2, 2), bias=False, strides=(2, 2)),
        "output padding": _deconv((1, 2, 4, 3), (2, 3, 3, 3), strides=(2, 3), pads=(1, 1, 1, 1),
        extra=(1, 2)),
        "output padding up to the dilation": _deconv((1, 2, 4, 3), (2, 3, 2, 3), dilations=(3, 3),
        pads=(1, 0, 0, 1), extra=(2, 1)),
        "output padding beyond the stride": _deconv((1, 2, 4, 3), (2, 3, 3, 3), strides=(2, 2),
        pads=(1, 0, 1, 0), extra=(3, 2)),
        "uneven pads": _deconv((1, 2, 4, 3), (2, 3, 3, 2), strides=(2, 1), pads=(2, 0, 0, 1)),
        "stride beyond kernel": _deconv((1, 2, 4), (2, 3, 2), strides=(4,), pads=(1, 0), extra=(1,)),
        "dilation": _deconv((1, 2, 4, 3), (2, 3, 3, 2), dilations=(2, 3), strides=(2, 1), pads=(1, 2, 0, 1)),
        "groups": _deconv((1, 4, 4, 3), (4, 3, 3, 2), group=2, strides=(2, 2), pads=(0, 1, 1, 0)),
        "depthwise": _deconv((1, 3, 4, 4), (3, 1, 2, 2), group=3, strides=(2, 2)),
    },
    "MatMul": {
        "vector": _matmul((1, 4), (4, 3), (3,)),
        "vector, full bias": _matmul((1, 4), (4, 3), (1, 3)),
        "one bias": _matmul((1, 4), (4, 3), (1,)),
        "stored transposed": _stored_transposed((1, 4), (3, 4), (3,)),
        "stored transposed, sequence": _stored_transposed((1, 5, 4), (3, 4), (3,)),
        "sequence": _matmul((1, 5, 4), (4, 3), (3,)),
        "sequence, bias by position": _matmul((1, 5, 4), (4, 3), (5, 1)),
        "images": _matmul((1, 2, 5, 4), (4, 3), (2, 1, 3)),
        "batched weight": _matmul((1, 2, 5, 4), (2, 4, 3), (2, 5, 3)),
        "batched weight of rank 4": _matmul((1, 2, 5, 4), (1, 2, 4, 3), (1, 2, 1, 3)),
        "weight enlarges": _matmul((1, 1, 5, 4), (2, 4, 3), (3,)),
        "weight of higher rank": _matmul((5, 4), (2, 4, 3), (3,), batched=False),
        "left": _matmul((1, 4, 5), (3, 4), (3, 1), "left"),
        "left, bias by position": _matmul((1, 4, 5), (3, 4), (5,), "left"),
        "left, square, bias by position": _matmul((1, 4, 3), (3, 4), (3,), "left"),
        "left, full bias": _matmul((1, 4, 5), (3, 4), (1, 3, 5), "left"),
        "left, batched": _matmul((1, 2, 4, 5), (2, 3, 4), (2, 3, 1), "left"),
        "no batch axis": _matmul((4, 4), (3, 4), (3, 1), "left", batched=False),
        "no batch axis, batched weight": _matmul((2, 5, 4), (2, 4, 3), (2, 1, 3), batched=False),
    },
    "Scale": {
        "channels": _scale((1, 3, 4, 2), (1, 3, 1, 1), (1, 3, 1, 1)),
        "one number": _scale((1, 3, 4), (1, 1, 1), (1, 1, 1)),
        "every element": _scale((1, 3, 4), (1, 3, 4), (1, 3, 4)),
        "last axis": _scale((1, 3, 4), (1, 1, 4), (1, 3, 1)),
        "vectors": _scale((1, 5), (1, 5), (1, 1)),
        "no weight": _scale((1, 3, 4), None, (1, 3, 1)),
        "no bias": _scale((1, 3, 4), (1, 3, 1), None),
        "no batch axis": _scale((2, 3), (2, 1), (1, 3), batched=False),
    },
    "PRelu": {
        "channels": _prelu((1, 3, 4, 2), (1, 3, 1, 1)),
        "one number": _prelu((1, 3, 4), (1, 1, 1)),
        "every element": _prelu((1, 3, 4), (1, 3, 4)),
        "no batch axis": _prelu((2, 3), (2, 1), batched=False),
    },
    "Quantizer": {
        label: one(lambda s, grid=grid: s.node("Quantizer", ["x0"], (1, 3, 4), quantizer=grid), (1, 3, 4))
        for label, grid in {
            "int8": Quantization(0.05, -7, -128, 127), "uint8 from 0": Quantization(0.01, 0, 0, 255),
            "int4": Quantization(0.3, 2, -8, 7),
            "uint16": Quantization(1e-4, 30000, 0, 65535), "none": None,
        }.items()
    },
    "Activation": {f"{name}{list(p)}": _activation((1, 3, 4), name,
    p) for name in FUNCTIONS for p in samples(name)},
    "Relu": {"any": one(lambda s: s.relu("x0"), (1, 3, 4))},
    "MaxPool": _pools("max_pool"),
    "SumPool": _pools("sum_pool"),
    "ReduceSum": _reduces("ReduceSum"),
    "ReduceMax": _reduces("ReduceMax"),
    "Add": _sums("add"),
    "Max": _sums("maximum"),
    "Concat": {
        "three": one(lambda s: s.concat("x0", "x1", "x2", axis=1), (1, 2, 3), (1, 1, 3), (1, 4, 3)),
        "last axis": one(lambda s: s.concat("x0", "x1", axis=3), (1, 2, 3, 1), (1, 2, 3, 4)),
        "vectors": one(lambda s: s.concat("x0", "x1", axis=1), (1, 2), (1, 3)),
    },
    "Slice": {
        "plain": one(lambda s: s.slice("x0", (1,), (1,), (3,), (1,)), (1, 4, 3)),
        "step": one(lambda s: s.slice("x0", (2,), (1,), (7,), (3,)), (1, 2, 8)),
        "step, past the end": one(lambda s: s.slice("x0", (2,), (2,), (8,), (4,)), (1, 2, 8)),
        "several axes": one(lambda s: s.slice("x0", (3, 1), (0, 1), (5, 4), (2, 2)), (1, 5, 2, 5)),
        "no batch axis": one(lambda s: s.slice("x0", (0,), (1,), (5,), (2,)), (5, 3), batched=False),
    },
    "Reshape": {
        "flatten": one(lambda s: s.flatten("x0"), (1, 2, 3, 4)),
        "unflatten": one(lambda s: s.reshape("x0", 1, 3, 2, 2), (1, 12)),
        "split channels": one(lambda s: s.reshape("x0", 1, 2, 3, 4), (1, 6, 4)),
        "mix": one(lambda s: s.reshape("x0", 1, 4, 6), (1, 8, 3)),
        "no batch axis": one(lambda s: s.reshape("x0", 6, 2), (3, 4), batched=False),
    },
    "Transpose": {
        "to last": one(lambda s: s.transpose("x0", 0, 2, 3, 1), (1, 2, 3, 4)),
        "swap": one(lambda s: s.transpose("x0", 0, 2, 1), (1, 2, 5)),
        "no batch axis": one(lambda s: s.transpose("x0", 2, 0, 1), (2, 3, 4), batched=False),
    },
    "Unfold": {
        "copies": one(lambda s: s.node("Unfold", ["x0"], (1, 3, 2, 4), matrix=COPIES), (1, 3, 2, 3)),
        "means": one(lambda s: s.node("Unfold", ["x0"], (1, 2, 1, 2), matrix=MEANS), (1, 2, 1, 4)),
        "sums, no batch axis": one(lambda s: s.node("Unfold", ["x0"], (1, 2, 2), matrix=4 * MEANS), (1, 2, 4),
        batched=False),
    },
    "Gather": {
        "repeated": one(lambda s: s.gather("x0", 1, (2, 0, 2, 2)), (1, 3, 4)),
        "last axis, some unused": one(lambda s: s.gather("x0", 3, (0, 3, 3)), (1, 2, 3, 5)),
        "array of indices": one(lambda s: s.node("Gather", ["x0"], (1, 2, 4), axis=2,
        indices=np.array([1, 0, 0, 2])), (1, 2, 3)),
        "no batch axis": one(lambda s: s.gather("x0", 0, (1, 1, 0)), (2, 3), batched=False),
    },
    "Pad": {
        "uneven": one(lambda s: s.pad("x0", (0, 0, 1, 2, 0, 0, 3, 0)), (1, 2, 3, 4)),
        "channels": one(lambda s: s.pad("x0", (0, 1, 0, 0, 2, 0)), (1, 2, 3)),
        "nothing": one(lambda s: s.pad("x0", (0, 0, 0, 0)), (1, 2)),
    },
    "Expand": {
        "channels": one(lambda s: s.expand("x0", 1, 4, 3), (1, 1, 3)),
        "two axes": one(lambda s: s.expand("x0", 1, 4, 3, 2), (1, 1, 3, 1)),
        "nothing": one(lambda s: s.expand("x0", 1, 4), (1, 4)),
    },
}  # fmt: skip
ALL = [(op, label) for op, cases in CASES.items() for label in cases]
