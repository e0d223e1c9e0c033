"""Extended mode: what PyTorch's exporters write for activations beyond ReLU, spellings by hand, near misses,
and the default refusing all."""

import io
import logging
import warnings
from math import inf, sqrt

import numpy as np
import onnx
import pytest
import torch
from extended_modules import MODULES, Net
from importer.building import refused
from importer.comparing import model, node, ops, run
from reference import evaluate

import onnxpath
from onnxpath.errors import MismatchError, UnsupportedError
from onnxpath.model.matching import match
from onnxpath.model.network import Network
from onnxpath.model.paths import extensions

F32 = np.float32


def found(network: Network) -> list:
    """(function, parameters) of the extension nodes, in order."""
    return [
        (n.attributes["function"], n.attributes["parameters"]) if n.op == "Activation" else n.op
        for n in network.nodes
        if n.op in ("Activation", "PRelu")
    ]


def agrees(seen: list, expected: list) -> bool:
    return len(seen) == len(expected) and all(
        s == e if isinstance(e, tuple) else (s if isinstance(s, str) else s[0]) == e
        for s, e in zip(seen, expected, strict=True)
    )


def export(net: torch.nn.Module, x: torch.Tensor, dynamo: bool, opset: int) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            if dynamo:
                return torch.onnx.export(
                    net, (x,), dynamo=True, opset_version=opset, verbose=False
                ).model_proto
            file = io.BytesIO()
            torch.onnx.export(net, (x,), file, dynamo=False, opset_version=opset)
            return onnx.load_from_string(file.getvalue())
        finally:
            logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", list(MODULES))
def test_exported_modules(name: str) -> None:
    """The old exporter at two opsets: recognised, equal to the module, matched with each other."""
    make, expected = MODULES[name]
    net, x = Net(make()).eval(), torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    networks = [onnxpath.load(export(net, x, False, opset), extended=True) for opset in (14, 20)]
    right = net.double()(x.double()).detach().numpy()
    for network in networks:
        assert agrees(found(network), expected), found(network)
        assert len(extensions(network)) == len(expected)
        value = evaluate(network, {network.inputs[0]: x.numpy()})[network.outputs[0]]
        # numbers such as 1/√2 are stored in float32, and read as what they stand for
        np.testing.assert_allclose(value, right, rtol=0, atol=1e-6 * np.abs(right).max())
    match(*networks)


@pytest.mark.parametrize("name", ["PReLU", "Softplus(2)", "GELU, tanh", "clamp below"])
def test_dynamo_exporter(name: str) -> None:
    make, expected = MODULES[name]
    net, x = Net(make()).eval(), torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    network = onnxpath.load(export(net, x, True, 18), extended=True)
    assert agrees(found(network), expected), found(network)
    value = evaluate(network, {network.inputs[0]: x.numpy()})[network.outputs[0]]
    right = net.double()(x.double()).detach().numpy()
    np.testing.assert_allclose(value, right, rtol=0, atol=1e-6 * np.abs(right).max())


C = {
    "half": F32(0.5), "one": F32(1), "root2": F32(sqrt(2)), "third": F32(3), "six": F32(6), "zero": F32(0),
    "cubic": F32(0.044715),
    "rate": F32(0.7978845608), "seven": F32(1.702), "minus": F32(-1),
    "half16": F32(np.float16(0.7071067811865476)),
}  # fmt: skip
TAIL = [node("MatMul", "g,w", "y")]
W = np.arange(6, dtype=F32).reshape(3, 2) - 2


def spelled(*nodes: onnx.NodeProto, **more: np.ndarray) -> onnx.ModelProto:
    """x -> MatMul -> h -> nodes -> g -> MatMul -> y."""
    weights = {"w0": np.eye(3, dtype=F32) * 2, "w": W, **C, **more}
    used = {name for n in nodes for name in n.input} | {"w0", "w"}
    kept = {name: value for name, value in weights.items() if name in used}
    return model([node("MatMul", "x,w0", "h"), *nodes, *TAIL], kept, (1, 3))


SPELLINGS = {
    "gelu, division first": (
        [node("Div", "h,root2", "a"), node("Erf", "a", "b"), node("Add", "one,b", "c"),
        node("Mul", "half,h", "d"), node("Mul", "c,d", "g")],
        ("Gelu", (1.0,)),
    ),
    "gelu, halved at the end": (
        [node("Div", "h,root2", "a"), node("Erf", "a", "b"), node("Add", "b,one", "c"),
        node("Mul", "c,h", "d"), node("Mul", "d,half", "g")],
        ("Gelu", (1.0,)),
    ),
    "gelu, distributed": (
        [node("Div", "h,root2", "a"), node("Erf", "a", "b"), node("Mul", "h,half", "c"),
        node("Mul", "c,b", "d"),
         node("Mul", "d,one", "e"), node("Add", "e,c", "f"), node("Mul", "f,one", "g")],
        ("Gelu", (1.0,)),
    ),
    "gelu through casts": (
        [node("Cast", "h", "h16", to=1), node("Div", "h16,root2", "a"), node("Erf", "a", "b"),
        node("Add", "b,one", "c"),
         node("Mul", "h16,c", "d"), node("Mul", "d,half", "g")],
        ("Gelu", (1.0,)),
    ),
    "gelu in half precision": (
        [node("Mul", "h,half16", "a"), node("Erf", "a", "b"), node("Add", "b,one", "c"),
        node("Mul", "h,c", "d"), node("Mul", "d,half", "g")],
        ("Gelu", (float(C["half16"]) * sqrt(2),)),
    ),
    "silu by tanh": (
        [node("Mul", "h,half", "a"), node("Tanh", "a", "b"), node("Add", "b,one", "c"),
        node("Mul", "h,c", "d"), node("Mul", "d,half", "g")],
        ("Silu", (1.0,)),
    ),
    "quick gelu": ([node("Mul", "h,seven", "a"), node("Sigmoid", "a", "b"), node("Mul", "b,h", "g")],
    ("Silu", (1.702,))),
    "hard swish, min and max": (
        [node("Add", "h,third", "a"), node("Max", "a,zero", "b"), node("Min", "six,b", "c"),
        node("Div", "c,six", "d"), node("Mul", "h,d", "g")],
        ("HardSwish", (1 / 6, 0.5)),
    ),
    "hard swish, relu first": (
        [node("Add", "h,third", "a"), node("Relu", "a", "b"), node("Clip", "b,,six", "c"),
        node("Mul", "h,c", "d"), node("Div", "d,six", "g")],
        ("HardSwish", (1 / 6, 0.5)),
    ),
    "hard swish by HardSigmoid": (
        [node("HardSigmoid", "h", "a", alpha=1 / 6), node("Mul", "h,a", "g")], ("HardSwish", (1 / 6, 0.5)),
    ),
    "sigmoid by exp": (
        [node("Neg", "h", "a"), node("Exp", "a", "b"), node("Add", "one,b", "c"),
        node("Reciprocal", "c", "g")], ("Sigmoid", ()),
    ),
    "softsign": ([node("Abs", "h", "a"), node("Add", "one,a", "b"), node("Div", "h,b", "g")],
    ("Softsign", ())),
    "relu6": ([node("Relu", "h", "a"), node("Min", "a,six", "g")], ("Clip", (0.0, 6.0))),
    "clip of clip": ([node("Clip", "h,minus,six", "a"), node("Clip", "a,zero,third", "g")],
    ("Clip", (0.0, 3.0))),
    "clip that ends before the other begins": ([node("Clip", "h,minus,zero", "a"),
    node("Clip", "a,one,six", "g")], ("Clip", (1.0, 1.0))),
    "limits in the wrong order": ([node("Clip", "h,six,one", "g")], ("Clip", (1.0, 1.0))),
    "celu": ([node("Celu", "h", "g", alpha=2.0)], ("Celu", (2.0,))),
    "shrink": ([node("Shrink", "h", "g", lambd=0.5, bias=0.5)], ("Softshrink", (0.5,))),
}  # fmt: skip


@pytest.mark.parametrize("name", list(SPELLINGS))
def test_spellings(name: str) -> None:
    nodes, expected = SPELLINGS[name]
    proto = spelled(*nodes)
    network = onnxpath.load(proto, extended=True)
    assert found(network) == [expected]
    run(proto, network)


def test_clip_after_relu_that_is_a_relu() -> None:
    network = onnxpath.load(spelled(node("Clip", "h,minus", "a"), node("Relu", "a", "g")), extended=True)
    assert ops(network) == ["MatMul", "Relu", "MatMul"] and extensions(network) == ()


MISSES = {
    "two activations": ([node("Mul", "h,h", "g")], "Mul"),
    "silu with a negative rate": (
        [node("Mul", "h,minus", "a"), node("Sigmoid", "a", "b"), node("Mul", "h,b", "g")],
        "negative, which no Silu has",
    ),
    "cubic coefficient": (
        [node("Pow", "h,third", "a"), node("Mul", "a,half", "b"), node("Add", "h,b", "c"),
        node("Mul", "c,rate", "d"), node("Tanh", "d", "e"),
         node("Add", "e,one", "f"), node("Mul", "h,f", "k"), node("Mul", "k,half", "g")],
        "cubic coefficient in its Tanh is 0.5",
    ),
    "hard swish that starts above 0": (
        [node("Add", "h,third", "a"), node("Clip", "a,minus,six", "b"), node("Mul", "h,b", "g")],
        "as a HardSwish has it",
    ),
    "gelu with another offset": (
        [node("Div", "h,root2", "a"), node("Erf", "a", "b"), node("Add", "b,six", "c"),
        node("Mul", "h,c", "g")], "Erf is not used as in",
    ),
    "gated by another layer": (
        [node("MatMul", "h,w0", "a"), node("Sigmoid", "a", "b"), node("Mul", "h,b", "g")], "the_none",
    ),
    "exp alone": ([node("Exp", "h", "g")], "Exp"),
    "log of one and a half": ([node("Exp", "h", "a"), node("Add", "a,half", "b"), node("Log", "b", "g")],
    "Exp"),
    "power": ([node("Pow", "h,third", "g")], "a power other than 1"),
    "jump": ([node("ThresholdedRelu", "h", "g", alpha=1.0)], "jumps"),
    "shrink that jumps": ([node("Shrink", "h", "g", lambd=0.5, bias=0.25)], "jumps"),
    "celu without a constant": ([node("Celu", "h", "g", alpha=-1.0)], "no Lipschitz constant"),
    "minimum of two": ([node("MatMul", "h,w0", "a"), node("Min", "h,a", "g")], "Clip"),
    "softmax inside": ([node("Softmax", "h", "g")], "Softmax"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MISSES))
def test_near_misses_are_refused_with_the_reason(name: str) -> None:
    nodes, words = MISSES[name]
    refused(spelled(*nodes), *([] if words == "the_none" else [words]), kind=UnsupportedError, extended=True)


@pytest.mark.parametrize("name", [*SPELLINGS, "prelu", "leaky"])
def test_the_default_refuses_them_by_name(name: str) -> None:
    nodes = {
        "prelu": [node("PRelu", "h,half", "g")], "leaky": [node("LeakyRelu", "h", "g")],
    }.get(name) or SPELLINGS[name][0]  # fmt: skip
    message = refused(spelled(*nodes), kind=UnsupportedError)
    assert "node '" in message


def test_a_sigmoid_at_the_end_is_still_left_off() -> None:
    proto = model([node("MatMul", "x,w", "h"), node("Sigmoid", "h", "y")], {"w": W}, (1, 3))
    network = onnxpath.load(proto, extended=True)
    assert ops(network) == ["MatMul"] and extensions(network) == () and len(network.cut) == 1


def test_a_silu_at_the_end_is_an_activation() -> None:
    proto = model(
        [node("MatMul", "x,w", "h"), node("Sigmoid", "h", "s"), node("Mul", "h,s", "y")], {"w": W}, (1, 3)
    )
    assert found(onnxpath.load(proto, extended=True)) == [("Silu", (1.0,))]


def test_both_modes_read_a_relu_network_alike() -> None:
    proto = spelled(node("Relu", "h", "g"))
    plain, extended = onnxpath.load(proto), onnxpath.load(proto, extended=True)
    assert ops(plain) == ops(extended) and plain.outputs == extended.outputs


def test_learned_slopes_stay_slopes_whatever_their_values() -> None:
    """PReLU slopes of 0 in one file and not in the other: the networks match."""
    networks = [
        onnxpath.load(spelled(node("PRelu", "h,slope", "g"), slope=np.array(s, F32)), extended=True)
        for s in ([0, 0, 0], [1, 0.5, -2])
    ]
    pairing = match(*networks)
    slopes = [pairing.twin[n.output][0] for n in networks[0].nodes if n.op == "PRelu"]
    assert np.array_equal(slopes[0].array().reshape(-1), F32([1, 0.5, -2]))


def test_other_functions_or_numbers_do_not_match() -> None:
    six, one, tanh = (onnxpath.load(spelled(*n), extended=True) for n in (
        [node("Clip", "h,zero,six", "g")], [node("Clip", "h,zero,one", "g")], [node("Tanh", "h", "g")],
    ))  # fmt: skip
    with pytest.raises(MismatchError, match=r"Clip\(0, 6\).*Clip\(0, 1\)"):
        match(six, one)
    with pytest.raises(MismatchError, match="Tanh"):
        match(six, tanh)


def test_an_intermediate_that_is_read_elsewhere_stays() -> None:
    """The Sigmoid inside a Silu is an activation of its own where something else reads it."""
    nodes = [node("Sigmoid", "h", "s"), node("Mul", "h,s", "a"), node("Add", "a,s", "g")]
    network = onnxpath.load(spelled(*nodes), extended=True)
    assert sorted(found(network)) == [("Sigmoid", ()), ("Silu", (1.0,))]
    run(spelled(*nodes), network)
    cube = [node("Pow", "h,third", "p"), node("Add", "h,p", "g")]
    refused(spelled(*cube), "a power other than 1", kind=UnsupportedError, extended=True)


def test_a_gate_that_would_change_the_shape_is_no_gate() -> None:
    """A constant of higher rank enlarges the product: x Sigmoid(x) of another shape is not recognised."""
    nodes = [
        node("Mul", "h,wide", "a"),
        node("Sigmoid", "a", "b"),
        node("Mul", "h,b", "k"),
        node("Reshape", "k,flat", "g"),
    ]
    proto = spelled(*nodes, wide=np.ones((1, 1, 1, 1), F32), flat=np.array([1, 3]))
    refused(proto, kind=UnsupportedError, extended=True)


def test_infinite_limits_are_no_limits() -> None:
    assert found(
        onnxpath.load(spelled(node("Clip", "h,minus,big", "g"), big=F32(3.4028235e38)), extended=True)
    ) == [("Clip", (-1.0, inf))]
