"""Random small ONNX files: every way in which files tie and store channels, in one generator.

`random_file(seed)` grows convolutional and dense networks with residual sums, Concat, grouped, depthwise and
transposed convolutions, BatchNormalization (γ of both signs), biases by Add, factors by Mul, pooling with and
without padding, upsampling and padding, and stores weights as initializers, Constant nodes, halves behind a
Cast, transposed or reshaped, shared between nodes, some of them zero.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_KEEPS = ("Relu", "Relu", "Relu", "MaxPool", "AveragePool", "Pad")


class Grower:
    """A file in the making: tensors by name with their shapes, without the batch axis."""

    def __init__(self, seed: int, kind: type = np.float32, plain: bool = False) -> None:
        self.rng, self.kind, self.plain = np.random.default_rng(seed), kind, plain
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.pool: dict[tuple, list[str]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.count = 0

    def fresh(self, prefix: str = "t") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def emit(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: object) -> str:
        out = self.fresh()
        self.nodes.append(helper.make_node(op, inputs, [out], f"{op}_{out}", **attributes))
        self.shapes[out] = tuple(int(n) for n in shape)
        return out

    def constant(self, value: np.ndarray) -> str:
        """An initializer of integers."""
        name = self.fresh("c")
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        array = self.rng.standard_normal(shape)
        if self.chance(0.2):
            array = array * (self.rng.random(shape) > 0.4)
        if self.chance(0.1) and shape:
            array[self.rng.integers(shape[0])] = 0
        return array.astype(self.kind)

    def weight(self, shape: tuple[int, ...], positive: bool = False) -> str:
        """A parameter, stored in some way."""
        key = (shape, positive)
        if self.pool.get(key) and self.chance(0.25) and not self.plain:
            return str(self.rng.choice(self.pool[key]))
        array = self.values(shape)
        if positive:
            array = (np.abs(array) + 0.5).astype(self.kind)
        name, how = (
            self.fresh("w"),
            (
                "initializer"
                if self.plain
                else str(
                    self.rng.choice(
                        ["initializer"] * 4
                        + ["constant", "typed", "half", "transposed", "reshaped", "identity"]
                    )
                )
            ),
        )
        if how == "constant":
            self.nodes.append(
                helper.make_node(
                    "Constant", [], [name], f"Constant_{name}", value=numpy_helper.from_array(array)
                )
            )
        elif how == "typed" and self.kind == np.float32:
            self.initializers.append(helper.make_tensor(name, TensorProto.FLOAT, shape, array.reshape(-1)))
        elif how == "half" and self.kind == np.float32:
            self.initializers.append(numpy_helper.from_array(array.astype(np.float16), name))
            name = self._behind(name, "Cast", to=TensorProto.FLOAT)
        elif how == "transposed" and len(shape) == 2:
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array.T), name))
            name = self._behind(name, "Transpose", perm=[1, 0])
        elif how == "reshaped":
            self.initializers.append(numpy_helper.from_array(array.reshape(-1), name))
            name = self._behind(name, "Reshape", self.constant(np.array(shape, np.int64)))
        else:
            self.initializers.append(numpy_helper.from_array(array, name))
            if how == "identity":
                name = self._behind(name, "Identity")
        self.pool.setdefault(key, []).append(name)
        return name

    def _behind(self, name: str, op: str, *more: str, **attributes: object) -> str:
        out = self.fresh("v")
        self.nodes.append(helper.make_node(op, [name, *more], [out], f"{op}_{out}", **attributes))
        return out

    # layers

    def conv(self, x: str, out: int, group: int = 1, k: int | None = None, stride: int = 1) -> str:
        n, h, w = self.shapes[x]
        k = k or int(self.rng.choice([1, 3]))
        inputs = [x, self.weight((out, n // group, k, k))]
        separate = self.chance(0.2)
        if self.chance(0.5) and not separate:
            inputs.append(self.weight((out,)))
        p = k // 2
        shape = (out, (h + 2 * p - k) // stride + 1, (w + 2 * p - k) // stride + 1)
        y = self.emit(
            "Conv", inputs, shape, pads=[p] * 4, group=group, strides=[stride] * 2, kernel_shape=[k, k]
        )
        if separate:
            operands = [y, self.weight((out, 1, 1))]
            y = self.emit("Add", operands if self.chance(0.7) else operands[::-1], shape)
        return self.norm(y) if self.chance(0.4) else y

    def transposed(self, x: str, out: int, group: int = 1) -> str:
        n, h, w = self.shapes[x]
        inputs = [x, self.weight((n, out // group, 2, 2))] + (
            [self.weight((out,))] if self.chance(0.5) else []
        )
        y = self.emit(
            "ConvTranspose", inputs, (out, h * 2, w * 2), strides=[2, 2], group=group, kernel_shape=[2, 2]
        )
        return self.norm(y) if self.chance(0.2) else y

    def norm(self, x: str) -> str:
        n = self.shapes[x][0]
        inputs = [x, self.weight((n,)), self.weight((n,)), self.weight((n,)), self.weight((n,), True)]
        return self.emit("BatchNormalization", inputs, self.shapes[x], epsilon=1e-3)

    def linear(self, x: str, out: int) -> str:
        (n,) = self.shapes[x]
        if self.chance(0.5):
            back = int(self.chance(0.5))
            inputs = [x, self.weight((out, n) if back else (n, out))] + (
                [self.weight((out,))] if self.chance(0.6) else []
            )
            return self.emit("Gemm", inputs, (out,), transB=back)
        y = self.emit("MatMul", [x, self.weight((n, out))], (out,))
        return self.emit("Add", [y, self.weight((out,))], (out,)) if self.chance(0.5) else y

    def layer(self, x: str, out: int) -> str:
        if len(self.shapes[x]) == 1:
            return self.linear(x, out)
        n = self.shapes[x][0]
        groups = [g for g in (1, 2, n) if n % g == 0 and out % g == 0]
        return self.conv(x, out, int(self.rng.choice(groups)))

    def step(self, x: str) -> str:
        shape = self.shapes[x]
        n, image = shape[0], len(shape) == 3
        moves = ["layer", "layer", "residual", "concat", "elementwise", "keep", "norm"] + (
            ["up", "down", "depthwise"] if image else []
        )
        move = str(self.rng.choice(moves))
        wide = int(self.rng.choice([2, 4, 6, 8]))
        if move == "layer":
            return self.relu(self.layer(x, wide))
        if move == "residual":
            inner = self.layer(self.relu(self.layer(x, wide)), n)
            pair = [x, inner] if self.chance(0.5) else [inner, x]
            return self.relu(self.emit(str(self.rng.choice(["Add", "Sum", "Add", "Max"])), pair, shape))
        if move == "concat":
            other = self.relu(self.layer(x, wide))
            parts = [x, other, x] if self.chance(0.2) else [other, x]
            return self.emit("Concat", parts, (sum(self.shapes[p][0] for p in parts), *shape[1:]), axis=1)
        if move == "elementwise":
            w = self.weight((n, 1, 1) if image else (n,))
            return self.relu(
                self.emit(
                    str(self.rng.choice(["Mul", "Add", "Sub", "Mul"])),
                    [x, w] if self.chance(0.6) else [w, x],
                    shape,
                )
            )
        if move == "norm" and image:
            return self.relu(self.norm(x))
        if move == "keep" and image:
            return self.keep(x)
        if move == "up" and max(shape[1:]) <= 4:
            if self.chance(0.5):
                return self.relu(self.transposed(x, wide, 2 if n % 2 == 0 and self.chance(0.3) else 1))
            scales = self.constant(np.array([1, 1, 2, 2], np.float32))
            return self.emit("Resize", [x, "", scales], (n, shape[1] * 2, shape[2] * 2), mode="nearest",
                             coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
        if move == "down" and min(shape[1:]) >= 4:
            return self.relu(self.conv(x, wide, k=3, stride=2))
        if move == "depthwise":
            return self.relu(self.conv(x, n * int(self.rng.choice([1, 1, 2])), group=n, k=3))
        return self.relu(x)

    def keep(self, x: str) -> str:
        n, h, w = self.shapes[x]
        op = str(self.rng.choice(_KEEPS))
        if op == "Pad":
            pads = self.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
            return self.emit("Pad", [x, pads], (n, h + 1, w + 1))
        if op == "Relu" or min(h, w) < 2:
            return self.relu(x)
        if self.chance(0.5):
            extra = {"count_include_pad": int(self.chance(0.5))} if op == "AveragePool" else {}
            return self.emit(op, [x], (n, h, w), kernel_shape=[3, 3], pads=[1] * 4, **extra)
        return self.emit(op, [x], (n, h // 2, w // 2), kernel_shape=[2, 2], strides=[2, 2])

    def relu(self, x: str) -> str:
        return self.emit("Relu", [x], self.shapes[x])

    def flat(self, x: str) -> str:
        if len(self.shapes[x]) == 1:
            return x
        n, h, w = self.shapes[x]
        how = str(self.rng.choice(["gap", "flatten", "reshape", "mean", "max"]))
        if how in ("gap", "max"):
            x = self.emit("GlobalAveragePool" if how == "gap" else "GlobalMaxPool", [x], (n, 1, 1))
            h = w = 1
        elif how == "mean":
            return self.emit("ReduceMean", [x], (n,), axes=[2, 3], keepdims=0)
        if how == "reshape":
            target = [[1, n * h * w], [1, -1], [0, -1], [-1, n * h * w]][self.rng.integers(4)]
            return self.emit("Reshape", [x, self.constant(np.array(target, np.int64))], (n * h * w,))
        return self.emit("Flatten", [x], (n * h * w,), axis=1)


def random_file(
    seed: int, kind: type = np.float32, plain: bool = False, outputs: int | None = None
) -> onnx.ModelProto:
    """plain: every weight an initializer of its own. outputs: 1 or 2, by chance where None."""
    g = Grower(seed, kind, plain)
    image = g.chance(0.75)
    g.shapes["x"] = (int(g.rng.integers(1, 4)), 5, 4) if image else (5,)
    x = g.relu(g.layer("x", int(g.rng.choice([2, 4, 6]))))
    for _ in range(int(g.rng.integers(1, 5))):
        x = g.step(x)
    ends = []
    if outputs == 2 or (outputs is None and g.chance(0.2)):
        ends.append(g.layer(x, 2))
    x = g.flat(x)
    if g.chance(0.5):
        x = g.relu(g.linear(x, 4))
    y = g.linear(x, 3)
    if g.chance(0.2):
        y = g.emit("Softmax", [y], g.shapes[y], axis=1)
    ends.append(y)
    data = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    results = [helper.make_tensor_value_info(name, data, (1, *g.shapes[name])) for name in ends]
    graph = helper.make_graph(
        g.nodes, "g", [helper.make_tensor_value_info("x", data, (1, *g.shapes["x"]))], results, g.initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if g.chance(0.2):
        for tensor in model.graph.initializer:
            if g.chance(0.5):
                model.graph.input.append(
                    helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                )
    onnx.checker.check_model(model)
    return model
