"""`locate` finds the cells of the file that a parameter is: what a view of them shows, and what changing them
does."""

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from oracle.networks import random_network
from spellings import SPELLINGS, B, W, model, node, normal

from onnxpath.errors import OnnxPathError, UnsupportedError
from onnxpath.exporter import Placement, locate
from onnxpath.importer import load
from onnxpath.model.network import Network, Parameter


def placed(network: Network) -> Iterator[tuple[Parameter, Placement]]:
    for item in network.nodes:
        for parameter in item.parameters():
            try:
                yield parameter, locate(network, parameter)
            except UnsupportedError:
                continue


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_parameter_is_a_view_of_the_tensor_that_holds_it(name: str) -> None:
    make, tensor = SPELLINGS[name]
    network = load(make())
    found = [(p, place) for p, place in placed(network) if place.tensor == tensor]
    assert found
    for parameter, place in found:
        array = network.origin.tensors[tensor].copy()
        np.testing.assert_array_equal(place.view(array), parameter.base)
        np.testing.assert_array_equal(array.reshape(-1)[place.indices()], parameter.base)
        place.view(array)[...] = 7
        cells = np.zeros(array.size, bool)
        cells[place.indices()] = True
        assert (array.reshape(-1)[cells] == 7).all()
        np.testing.assert_array_equal(
            array.reshape(-1)[~cells], network.origin.tensors[tensor].reshape(-1)[~cells]
        )
        assert place.repeats == (
            name in ("ConstantOfShape", "Constant, value_float") and place.shape != (1, 1)
        )


def test_slices_of_one_tensor_are_told_apart() -> None:
    """A weight cut in two by the importer's constant folding is computed, but one read twice at different
    places is not."""
    shared = model(
        [
            node("Reshape", "w,s", "a"),
            node("Transpose", "w", "b"),
            node("MatMul", "x,a", "h"),
            node("MatMul", "h,b", "y"),
        ],
        {"w": normal(4, 4), "s": np.array([4, 4])},
    )
    network = load(shared)
    (first, one), (second, two) = placed(network)
    assert one.tensor == two.tensor == "w"
    np.testing.assert_array_equal(one.indices(), two.indices().T)
    assert first.base is not second.base


def test_what_the_file_computes_is_refused_with_the_reason() -> None:
    statistics = {"g": normal(6), "b": normal(6), "m": normal(6), "v": normal(6) ** 2}
    nodes = [node("Conv", "x,k", "h"), node("BatchNormalization", "h,g,b,m,v", "y")]
    bias = load(model(nodes, {"k": normal(6, 2, 3, 3), **statistics}, (1, 2, 5, 5))).nodes[0].bias
    network = load(model(nodes, {"k": normal(6, 2, 3, 3), **statistics}, (1, 2, 5, 5)))
    with pytest.raises(UnsupportedError, match="computed from 'b', 'm', 'g', 'v'"):
        locate(network, network.nodes[0].bias)
    assert bias is not None
    divided = load(model([node("Div", "x,w", "h"), node("Relu", "h", "y")], {"w": np.abs(B)}, (1, 3)))
    with pytest.raises(UnsupportedError, match="computed from 'w'"):
        locate(divided, divided.nodes[0].weight)
    total = load(model([node("Add", "w,v", "u"), node("MatMul", "x,u", "y")], {"w": W, "v": W}))
    with pytest.raises(UnsupportedError, match="computed from 'w', 'v'"):
        locate(total, total.nodes[0].weight)
    integers = load(
        model([node("Cast", "w", "f", to=1), node("MatMul", "x,f", "y")], {"w": np.ones((4, 3), np.int64)})
    )
    with pytest.raises(UnsupportedError, match="not stored as floating-point numbers"):
        locate(integers, integers.nodes[0].weight)
    pooled = load(model([node("AveragePool", "x", "y", kernel_shape=[2, 2])], {}, (1, 2, 4, 4)))
    with pytest.raises(UnsupportedError, match="no tensor of the file"):
        locate(pooled, next(p for item in pooled.nodes for p in item.parameters()))
    with pytest.raises(UnsupportedError, match="not read from a file"):
        built = random_network(1)
        locate(built, next(p for item in built.nodes for p in item.parameters()))


def test_constants_inside_a_local_function_are_no_tensors_of_the_graph() -> None:
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)]
    body = [node("Constant", "", "w", value=numpy_helper.from_array(W)), node("MatMul", "a,w", "b")]
    function = onnx.helper.make_function("own", "Layer", ["a"], ["b"], body, opsets)
    made = model([onnx.helper.make_node("Layer", ["x"], ["y"], domain="own")], {})
    made.functions.append(function)
    made.opset_import.append(opsets[1])
    network = load(made)
    with pytest.raises(UnsupportedError, match="not stored"):
        locate(network, network.nodes[0].weight)


def test_every_parameter_of_real_files_is_located_or_computed(real_models) -> None:
    """Weights always are located; so is every bias that no BatchNormalization was folded into."""
    located = 0
    for path in sorted(real_models.glob("*.onnx")):
        try:
            network = load(path)
        except OnnxPathError:
            continue
        normalized = bool(network.origin.normalizations)
        for item in network.nodes:
            for parameter in (item.weight, item.bias):
                if parameter is None or parameter.fixed:
                    continue
                if normalized and parameter is item.bias and parameter.base.dtype == np.float64:
                    continue
                place = locate(network, parameter)
                array = network.origin.tensors[place.tensor]
                np.testing.assert_array_equal(place.view(array.copy()), parameter.base)
                located += 1
    assert located > 300
