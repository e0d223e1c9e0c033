"""Random stacks of window operators as ONNX files, and pairs of them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import onnxpath
from onnxpath.model.network import Network


class Builder:
    """A random stack of window operators over one or two spatial axes."""

    def __init__(self, rng: np.random.Generator, rank: int):
        self.rng, self.rank = rng, rank
        self.nodes: list = []
        self.weights: dict[str, np.ndarray] = {}
        self.tensor, self.channels = "x", 2

    def add(self, op: str, inputs: list[str], **attributes: object) -> None:
        self.tensor = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, inputs, [self.tensor], name=f"n{len(self.nodes)}", **attributes)
        )

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = self.rng.normal(size=shape).astype(np.float32)
        return name

    def window(self, limit: int = 4) -> dict:
        kernel = self.rng.integers(1, limit, self.rank)
        pads = np.concatenate([self.rng.integers(0, kernel), self.rng.integers(0, kernel)])
        return {
            "kernel_shape": kernel.tolist(),
            "strides": self.rng.integers(1, 3, self.rank).tolist(),
            "pads": pads.tolist(),
        }

    def conv(self) -> None:
        made = int(self.rng.integers(1, 4))
        window = self.window()
        dilations = self.rng.integers(1, 3, self.rank).tolist()
        weight = self.weight(made, self.channels, *window["kernel_shape"])
        self.add("Conv", [self.tensor, weight, self.weight(made)], **window, dilations=dilations)
        self.channels = made

    def residual(self) -> None:
        before = self.tensor
        weight = self.weight(self.channels, self.channels, *[3] * self.rank)
        self.add(
            "Conv",
            [before, weight, self.weight(self.channels)],
            kernel_shape=[3] * self.rank,
            pads=[1] * 2 * self.rank,
        )
        self.add("Add", [self.tensor, before])

    def up(self) -> None:
        window = {"kernel_shape": [2] * self.rank, "strides": [2] * self.rank}
        self.add(
            "ConvTranspose",
            [self.tensor, self.weight(self.channels, self.channels, *window["kernel_shape"])],
            **window,
        )

    def step(self) -> None:
        kind = self.rng.choice(
            ["conv", "conv", "relu", "max", "average", "residual", "up", "concat", "scale", "position"]
        )
        if kind in ("conv", "residual", "up"):
            getattr(self, kind)()
        elif kind == "relu":
            self.add("Relu", [self.tensor])
        elif kind == "max":
            self.add("MaxPool", [self.tensor], **self.window(), ceil_mode=int(self.rng.integers(0, 2)))
        elif kind == "average":
            self.add(
                "AveragePool", [self.tensor], **self.window(), count_include_pad=int(self.rng.integers(0, 2))
            )
        elif kind == "concat":
            self.add("Concat", [self.tensor, self.tensor], axis=1)
            self.channels *= 2
        elif kind == "scale":
            self.add("Mul", [self.tensor, self.weight(1, self.channels, *[1] * self.rank)])
        else:
            self.add("Add", [self.tensor, self.weight(1, self.channels, *[1] * self.rank)])

    def model(self, size: list[int]) -> bytes:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, *size])]
        outputs = [helper.make_tensor_value_info(self.tensor, TensorProto.FLOAT, None)]
        initializers = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, initializers)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()


def random_pair(seed: int) -> tuple[Network, Network] | None:
    rng = np.random.default_rng(seed)
    builder = Builder(rng, int(rng.integers(1, 3)))
    for _ in range(int(rng.integers(1, 8))):
        builder.step()
    size = rng.integers(9, 40, builder.rank).tolist()
    first = builder.model(size)
    builder.weights = {
        k: v * (1 + 0.3 * rng.normal(size=v.shape)).astype(np.float32) for k, v in builder.weights.items()
    }
    second = builder.model(size)
    try:
        return onnxpath.load(first), onnxpath.load(second)
    except onnxpath.OnnxPathError:  # the image became too small for a window
        return None
