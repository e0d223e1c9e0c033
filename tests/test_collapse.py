"""Leaving out equal cells changes no number: norms, metrics and shares of the collapsed network are those of the network."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from reference import costs

import onnxpath
from onnxpath.collapse import Axis, collapse
from onnxpath.engine.session import Device
from onnxpath.metrics import metric as metric_module
from onnxpath.network import Network
from onnxpath.passes import absolute
from onnxpath.pruning.costs import path_costs

DOUBLE = Device("cpu", "float64", 1)


class Builder:
    """A random stack of window operators over one or two spatial axes."""

    def __init__(self, rng: np.random.Generator, rank: int):
        self.rng, self.rank = rng, rank
        self.nodes: list = []
        self.weights: dict[str, np.ndarray] = {}
        self.tensor, self.channels = "x", 2

    def add(self, op: str, inputs: list[str], **attributes: object) -> None:
        self.tensor = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [self.tensor], name=f"n{len(self.nodes)}", **attributes))

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = self.rng.normal(size=shape).astype(np.float32)
        return name

    def window(self, limit: int = 4) -> dict:
        kernel = self.rng.integers(1, limit, self.rank)
        pads = np.concatenate([self.rng.integers(0, kernel), self.rng.integers(0, kernel)])
        return {"kernel_shape": kernel.tolist(), "strides": self.rng.integers(1, 3, self.rank).tolist(), "pads": pads.tolist()}

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
        self.add("Conv", [before, weight, self.weight(self.channels)], kernel_shape=[3] * self.rank, pads=[1] * 2 * self.rank)
        self.add("Add", [self.tensor, before])

    def up(self) -> None:
        window = {"kernel_shape": [2] * self.rank, "strides": [2] * self.rank}
        self.add("ConvTranspose", [self.tensor, self.weight(self.channels, self.channels, *window["kernel_shape"])], **window)

    def step(self) -> None:
        kind = self.rng.choice(["conv", "conv", "relu", "max", "average", "residual", "up", "concat", "scale", "position"])
        if kind in ("conv", "residual", "up"):
            getattr(self, kind)()
        elif kind == "relu":
            self.add("Relu", [self.tensor])
        elif kind == "max":
            self.add("MaxPool", [self.tensor], **self.window(), ceil_mode=int(self.rng.integers(0, 2)))
        elif kind == "average":
            self.add("AveragePool", [self.tensor], **self.window(), count_include_pad=int(self.rng.integers(0, 2)))
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
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def random_pair(seed: int) -> tuple[Network, Network] | None:
    rng = np.random.default_rng(seed)
    builder = Builder(rng, int(rng.integers(1, 3)))
    for _ in range(int(rng.integers(1, 8))):
        builder.step()
    size = rng.integers(9, 40, builder.rank).tolist()
    first = builder.model(size)
    builder.weights = {k: v * (1 + 0.3 * rng.normal(size=v.shape)).astype(np.float32) for k, v in builder.weights.items()}
    second = builder.model(size)
    try:
        return onnxpath.load(first), onnxpath.load(second)
    except onnxpath.OnnxPathError:  # the image became too small for a window
        return None


def values(network: Network) -> list[np.ndarray]:
    found = absolute.evaluate(network, 1.0, DOUBLE, absolute.ones(network))
    return [
        np.ldexp(found[name].values.mantissa, np.broadcast_to(found[name].values.exponent, found[name].values.mantissa.shape))
        for name in network.outputs
    ]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_output_keeps_its_value(seed: int) -> None:
    pair = random_pair(seed)
    if pair is None:
        return
    for full, small in zip(values(pair[0]), values(collapse(pair[0])), strict=True):
        assert full.shape == small.shape
        np.testing.assert_allclose(small, full, rtol=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_metrics_and_shares_are_kept(seed: int) -> None:
    pair = random_pair(seed)
    if pair is None:
        return
    small = metric_module.path_metric(*pair, DOUBLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric_module, "collapse", lambda network: network)
        full = metric_module.path_metric(*pair, DOUBLE)
    for end in ("lower", "upper"):
        assert getattr(small.path_metric, end).value == pytest.approx(getattr(full.path_metric, end).value, rel=1e-9)
    assert small.path_metric.exact == full.path_metric.exact
    assert [layer.name for layer in small.layers] == [layer.name for layer in full.layers]
    assert [layer.share for layer in small.layers] == pytest.approx([layer.share for layer in full.layers], abs=1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_costs_count_every_cell_left_out(seed: int) -> None:
    """The pass on the collapsed network against autograd on the whole one, for every single coordinate and channel."""
    pair = random_pair(seed)
    if pair is None or not pair[0].parameters():
        return
    network = pair[0]
    result, expected = path_costs(network, DOUBLE), costs(network)
    for item in result.parameters:
        np.testing.assert_allclose(np.ldexp(item.mantissa, result.exponent), expected[item.node, item.kind], rtol=1e-10, atol=1e-290)
    names = [node.name for node in network.nodes]
    for layer in result.layers:
        value = expected[network.nodes[names.index(layer.name)].output, "value"]
        through = value.sum(tuple(k for k in range(value.ndim) if k != 1))
        np.testing.assert_allclose(np.ldexp(layer.neurons, result.exponent), through, rtol=1e-10, atol=1e-290)


def test_a_large_image_costs_what_its_borders_cost() -> None:
    builder = Builder(np.random.default_rng(0), 2)
    for _ in range(3):
        weight = builder.weight(2, 2, 3, 3)
        builder.add("Conv", [builder.tensor, weight], kernel_shape=[3, 3], pads=[1] * 4)
    small = collapse(onnxpath.load(builder.model([500, 700])))
    windows = [node for node in small.nodes if node.op == "Conv"]
    assert [small.shapes[node.output][2:] for node in windows] == [(3, 3), (5, 5), (7, 7)]
    assert small.shapes[small.outputs[0]][2:] == (500, 700)


def test_indices_repeat_the_cell_between() -> None:
    axis = Axis(length=10, front=2, back=1, left_out=6)  # cells 0 1 | 2 | 9, the cells 3 to 8 left out
    assert axis.repeat(6) == [0, 1, 2, 3]
    assert axis.repeat(0) == [0, 1, 2, 2, 2, 2, 2, 2, 2, 3]
    assert axis.repeat(4) == [0, 1, 2, 2, 2, 3]
