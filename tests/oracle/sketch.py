"""Writing canonical networks by hand: every method adds one node and returns the name of its output.

Output shapes are worked out here, from the definition of each operator, and not by the package.
"""

from collections.abc import Sequence

import numpy as np

from onnxpath.model.network import Network, Node, Parameter, Shape


class Sketch:
    """A network in the making; inputs are given by name with their shapes, batch axis included."""

    def __init__(self, **inputs: Shape):
        self.shapes: dict[str, Shape] = dict(inputs)
        self._inputs = tuple(inputs)
        self._nodes: list[Node] = []

    def network(
        self, *outputs: str, path: str = "sketch", names: Sequence[str] = (), **extra: object
    ) -> Network:
        return Network(
            path,
            "",
            self._inputs,
            outputs,
            tuple(self._nodes),
            dict(self.shapes),
            output_names=tuple(names) or outputs,
            **extra,
        )

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        weight=None,
        bias=None,
        fixed=False,
        name="",
        **attributes,
    ) -> str:
        output = f"{op.lower()}_{len(self._nodes)}"
        name = name or output

        def parameter(value: object, kind: str) -> Parameter | None:
            if value is None or isinstance(value, Parameter):
                return value
            return Parameter(
                f"{name}.{kind}", np.asarray(value), None, (f"{name}.{kind}",), fixed and kind == "weight"
            )

        self._nodes.append(
            Node(
                name,
                op,
                tuple(inputs),
                output,
                attributes,
                parameter(weight, "weight"),
                parameter(bias, "bias"),
            )
        )
        self.shapes[output] = tuple(int(n) for n in shape)
        return output

    # weighted

    def conv(
        self,
        x: str,
        weight,
        bias=None,
        *,
        strides=None,
        dilations=None,
        pads=None,
        group=1,
        fixed=False,
        name="",
    ) -> str:
        batch, _, *spatial = self.shapes[x]
        kernel = np.shape(weight)[2:] if not isinstance(weight, Parameter) else weight.shape[2:]
        out = (weight.shape if isinstance(weight, Parameter) else np.shape(weight))[0]
        rank = len(kernel)
        strides, dilations, pads = strides or (1,) * rank, dilations or (1,) * rank, pads or (0,) * (2 * rank)
        space = windows(spatial, kernel, strides, dilations, pads)
        return self.node(
            "Conv",
            [x],
            (batch, out, *space),
            weight,
            bias,
            fixed,
            name,
            strides=strides,
            dilations=dilations,
            pads=pads,
            group=group,
        )

    def conv_transpose(
        self,
        x: str,
        weight,
        bias=None,
        *,
        strides=None,
        dilations=None,
        pads=None,
        group=1,
        extra=None,
        name="",
    ) -> str:
        """`extra`: output padding."""
        batch, _, *spatial = self.shapes[x]
        _, out, *kernel = np.shape(weight)
        rank = len(kernel)
        strides, dilations, pads = strides or (1,) * rank, dilations or (1,) * rank, pads or (0,) * (2 * rank)
        space = [
            (n - 1) * s + d * (k - 1) + 1 - b - e + more
            for n, s, d, k, b, e, more in zip(
                spatial,
                strides,
                dilations,
                kernel,
                pads[:rank],
                pads[rank:],
                extra or (0,) * rank,
                strict=True,
            )
        ]
        return self.node(
            "ConvTranspose", [x], (batch, out * group, *space), weight, bias, False, name,
            strides=strides, dilations=dilations, pads=pads, group=group,
        )  # fmt: skip

    def matmul(self, x: str, weight, bias=None, *, side="right", fixed=False, name="") -> str:
        shape, w = self.shapes[x], weight.shape
        lead = np.broadcast_shapes(shape[:-2], w[:-2])
        ends = (shape[-2], w[-1]) if side == "right" else (w[-2], shape[-1])
        return self.node("MatMul", [x], (*lead, *ends), weight, bias, fixed, name, side=side)

    def scale(self, x: str, weight=None, bias=None, *, fixed=False, name="") -> str:
        return self.node("Scale", [x], self.shapes[x], weight, bias, fixed, name)

    # activations, pools and sums

    def relu(self, x: str, name="") -> str:
        return self.node("Relu", [x], self.shapes[x], name=name)

    def activation(self, x: str, function: str, *parameters: float, name="") -> str:
        return self.node(
            "Activation", [x], self.shapes[x], name=name, function=function, parameters=tuple(parameters)
        )

    def prelu(self, x: str, slopes, fixed=False, name="") -> str:
        return self.node("PRelu", [x], self.shapes[x], slopes, None, fixed, name)

    def _pool(self, op: str, x: str, kernel, strides, dilations, pads) -> str:
        rank = len(kernel)
        strides, dilations, pads = strides or kernel, dilations or (1,) * rank, pads or (0,) * (2 * rank)
        shape = (*self.shapes[x][:2], *windows(self.shapes[x][2:], kernel, strides, dilations, pads))
        return self.node(
            op,
            [x],
            shape,
            kernel=tuple(kernel),
            strides=tuple(strides),
            dilations=tuple(dilations),
            pads=tuple(pads),
        )

    def max_pool(self, x: str, kernel, strides=None, dilations=None, pads=None) -> str:
        return self._pool("MaxPool", x, kernel, strides, dilations, pads)

    def sum_pool(self, x: str, kernel, strides=None, dilations=None, pads=None) -> str:
        return self._pool("SumPool", x, kernel, strides, dilations, pads)

    def average_pool(self, x: str, kernel, **kw) -> str:
        pooled = self.sum_pool(x, kernel, **kw)
        return self.scale(
            pooled, np.full((1,) * len(self.shapes[x]), 1 / np.prod(kernel), np.float32), fixed=True
        )

    def reduce(self, op: str, x: str, axes: Sequence[int]) -> str:
        shape = [1 if k in axes else n for k, n in enumerate(self.shapes[x])]
        return self.node(op, [x], shape, axes=tuple(axes))

    def add(self, *xs: str, name="") -> str:
        return self.node("Add", xs, self.shapes[xs[0]], name=name)

    def maximum(self, *xs: str) -> str:
        return self.node("Max", xs, self.shapes[xs[0]])

    # movement

    def concat(self, *xs: str, axis=1) -> str:
        shape = list(self.shapes[xs[0]])
        shape[axis] = sum(self.shapes[x][axis] for x in xs)
        return self.node("Concat", xs, shape, axis=axis)

    def reshape(self, x: str, *shape: int) -> str:
        return self.node("Reshape", [x], shape)

    def flatten(self, x: str) -> str:
        shape = self.shapes[x]
        return self.reshape(x, shape[0], int(np.prod(shape[1:])))

    def transpose(self, x: str, *perm: int) -> str:
        return self.node("Transpose", [x], [self.shapes[x][k] for k in perm], perm=tuple(perm))

    def slice(self, x: str, axes, starts, stops, steps) -> str:
        shape = list(self.shapes[x])
        for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
            shape[axis] = len(range(start, stop, step))
        return self.node(
            "Slice",
            [x],
            shape,
            axes=tuple(axes),
            starts=tuple(starts),
            stops=tuple(stops),
            steps=tuple(steps),
        )

    def gather(self, x: str, axis: int, indices: Sequence[int]) -> str:
        shape = list(self.shapes[x])
        shape[axis] = len(indices)
        return self.node("Gather", [x], shape, axis=axis, indices=tuple(indices))

    def pad(self, x: str, pads: Sequence[int]) -> str:
        rank = len(pads) // 2
        return self.node(
            "Pad", [x], [n + pads[k] + pads[rank + k] for k, n in enumerate(self.shapes[x])], pads=tuple(pads)
        )

    def expand(self, x: str, *shape: int) -> str:
        return self.node("Expand", [x], shape)


def windows(spatial, kernel, strides, dilations, pads) -> list[int]:
    """How many windows fit along every spatial axis."""
    rank = len(kernel)
    return [
        (n + b + e - d * (k - 1) - 1) // s + 1
        for n, k, s, d, b, e in zip(
            spatial, kernel, strides, dilations, pads[:rank], pads[rank:], strict=True
        )
    ]
