"""Nodes that only move, pad, pool or add up values: what does nothing goes, what can merge merges; batch
axis; long chains."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from comparing import model, node, normal, ops, run, signature
from work import lines

import onnxpath
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.metric.norm import path_norms
from onnxpath.engine.session import Device
from onnxpath.importer import load

W1 = normal(8, 6)
K = normal(5, 3, 3, 3)


def test_zero_padding_is_absorbed() -> None:
    weights = {"k": K, "p": np.array([0, 0, 1, 2, 0, 0, 3, 0])}
    proto = model(
        [node("Pad", "x,p", "q"), node("Conv", "q,k", "y", pads=[1, 0, 0, 1])], weights, [1, 3, 7, 7]
    )
    network = load(proto)
    assert ops(network) == ["Conv"] and network.nodes[0].attributes["pads"] == (2, 2, 3, 1)
    run(proto, network)
    weights["p"] = np.array([0, 1, 0, 0, 0, 0, 0, 0])
    network = load(model([node("Pad", "x,p", "q"), node("Conv", "q,k", "y")], weights, [1, 2, 7, 7]))
    assert ops(network) == ["Pad", "Conv"]


def test_transposes_compose_and_cancel() -> None:
    there, back = (
        node("Transpose", "x", "a", perm=[0, 2, 3, 1]),
        node("Transpose", "a", "b", perm=[0, 3, 1, 2]),
    )
    network = load(model([there, back, node("Relu", "b", "y")], {}, [1, 3, 4, 5]))
    assert ops(network) == ["Relu"]
    again = node("Transpose", "a", "b", perm=[0, 2, 1, 3])
    proto = model([there, again, node("Relu", "b", "y")], {}, [1, 3, 4, 5])
    network = load(proto)
    assert ops(network) == ["Transpose", "Relu"] and network.nodes[0].attributes["perm"] == (0, 3, 2, 1)
    run(proto, network)
    network = load(model([there, node("Flatten", "a", "y")], {}, [1, 3, 1, 1]))
    assert ops(network) == ["Reshape"]


def test_a_global_window_is_a_reduction() -> None:
    for window, whole in (("AveragePool", "GlobalAveragePool"), ("MaxPool", "GlobalMaxPool")):
        one = load(model([node(window, "x", "y", kernel_shape=[4, 5])], {}, [1, 3, 4, 5]))
        two = load(model([node(whole, "x", "y")], {}, [1, 3, 4, 5]))
        assert signature(one) == signature(two)


def test_sums_are_flat() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("Neg", "x", "n"),
        node("Relu", "n", "b"),
        node("Add", "a,b", "s"),
        node("Add", "s,x", "y"),
    ]
    one = load(model(nodes, {}, [1, 4]))
    two = load(model([*nodes[:3], node("Sum", "a,b,x", "y")], {}, [1, 4]))
    assert signature(one) == signature(two) and ops(one)[-1] == "Add" and len(one.nodes[-1].inputs) == 3
    shared = load(
        model([*nodes[:4], node("Add", "s,x", "y"), node("Relu", "s", "z")], {}, [1, 4], results="y,z")
    )
    assert ops(shared).count("Add") == 2


def test_an_output_of_the_network_is_not_merged_away() -> None:
    nodes = [node("Conv", "x,k", "c"), node("Add", "c,b", "y"), node("Relu", "y", "z")]
    network = load(model(nodes, {"k": K, "b": normal(5, 1, 1)}, [1, 3, 7, 7], results="c,y,z"))
    assert (
        ops(network) == ["Conv", "Scale", "Relu"]
        and len(set(network.outputs)) == 3
        and network.output_names == ("c", "y", "z")
    )


def test_what_is_made_of_an_output_is_no_output_of_its_own() -> None:
    nodes = [node("Gemm", "x,w1", "y"), node("Softmax", "y", "p"), node("ArgMax", "p", "label")]
    network = load(model(nodes, {"w1": W1}, [1, 8], results="y,p,label"))
    assert network.output_names == ("y",) and len(network.cut) == 2
    assert (
        sum("left off" in note for note in network.notes) == 2
        and sum("equals the output 'y'" in note for note in network.notes) == 2
    )


def test_equal_outputs_are_outputs_each() -> None:
    """Whatever makes them equal: Identity, a Reshape to the same shape, a Dropout, a second ReLU, a Cast.
    What is made of them is left out."""
    copies = [
        node("Identity", "y", "i"),
        node("Dropout", "y", "d"),
        node("Relu", "y", "r"),
        node("Cast", "y", "c", to=1),
    ]
    copies += [node("Reshape", "y,shape", "s"), node("Softmax", "y", "p"), node("Identity", "r", "ri")]
    start = [node("Gemm", "x,w1", "g"), node("Relu", "g", "y")]
    weights = {"w1": W1, "shape": np.array([1, 6])}
    alone = load(model(start, weights, [1, 8]))
    proto = model([*start, *copies], weights, [1, 8], results="y,i,d,r,p,c,s,ri")
    network = load(proto)
    assert network.output_names == ("y", "i", "d", "r", "c", "s", "ri") and len(set(network.outputs)) == 7
    one, all_ = (path_norms(found, [0, 1, 2], Device("cpu"), per_output=True) for found in (alone, network))
    for q, single, several in zip((0, 1, 2), one.norms, all_.norms, strict=True):
        assert several.value.value == pytest.approx(single.value.value * (7 ** (1 / q) if q else 7))
    assert all(output.values == one.outputs[0].values for output in all_.outputs)
    changed = load(model([*start, *copies], {**weights, "w1": W1 * 0.5}, [1, 8], results="y,i,d,r,p,c,s,ri"))
    found = path_metric(network, changed, Device("cpu"))
    assert len(found.outputs) == 7 and len({output.upper for output in found.outputs}) == 1
    assert found.path_metric.upper.value == pytest.approx(all_.norms[1].value.value / 2)
    del proto.graph.output[4]
    run(proto, network)


def test_files_with_equal_outputs_are_written(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x,w1", "g"),
        node("Relu", "g", "h"),
        node("Gemm", "h,w2", "y"),
        node("Identity", "y", "z"),
        node("Flatten", "y", "f"),
    ]
    path = tmp_path / "a.onnx"
    onnx.save(model(nodes, {"w1": W1, "w2": normal(W1.shape[1], 3)}, [1, 8], results="y,z,f"), path)
    onnxpath.rescale(path, tmp_path / "b.onnx", provider="cpu")
    onnxpath.prune(path, tmp_path / "c.onnx", sparsity=0.5, provider="cpu")
    onnxpath.prune(path, tmp_path / "d.onnx", sparsity=0.5, pattern="channels", provider="cpu")
    assert all(len(load(tmp_path / f"{name}.onnx").outputs) == 3 for name in "bcd")


def test_tail_in_the_middle_is_refused_and_at_another_output_ignored() -> None:
    nodes = [node("Relu", "x", "y"), node("Tanh", "y", "z")]
    assert ops(load(model(nodes, {}, [1, 8], results="y,z"), output_names=["y"])) == ["Relu"]
    with pytest.raises(Exception, match=r"\(Tanh\)"):
        load(model(nodes, {}, [1, 8], results="y,z"))
    with pytest.raises(Exception, match=r"\(Softmax\)"):
        load(model([node("Softmax", "x", "p"), node("Relu", "p", "z")], {}, [1, 8], results="p,z"))
    with pytest.raises(Exception, match=r"\(Softmax\)"):
        load(model([node("Softmax", "x", "s"), node("Gemm", "s,w1", "y")], {"w1": W1}, [1, 8]))


@pytest.mark.parametrize(
    ("nodes", "shape", "expected"),
    [
        ([node("Relu", "x", "y")], [1, 8], True),
        ([node("Relu", "x", "y")], [4, 8], True),
        ([node("Transpose", "x", "y", perm=[1, 0])], [3, 8], False),
        ([node("Transpose", "x", "y", perm=[1, 0])], [4, 4], False),
        ([node("Concat", "x,x", "y", axis=0)], [1, 8], False),
        ([node("Reshape", "x,tall", "y")], [1, 16, 10], False),
        ([node("Flatten", "x", "y")], [1, 4, 8, 8], True),
        ([node("MatMul", "x,w1", "y")], [1, 8], True),
        ([node("MatMul", "w1,x", "y")], [6, 2], False),
        ([node("MatMul", "w1,x", "y")], [1, 6, 2], True),
        ([node("Mul", "x,rows", "y")], [3, 8], False),
    ],
)
def test_batched(nodes: list[onnx.NodeProto], shape: list[int], expected: bool) -> None:
    weights = {"tall": np.array([16, 10]), "w1": W1, "rows": normal(3, 1)}
    used = {name for item in nodes for name in item.input}
    assert (
        load(model(nodes, {key: value for key, value in weights.items() if key in used}, shape)).batched
        is expected
    )


def chain(count: int, order: str) -> onnx.ModelProto:
    nodes = [node("Relu" if k % 2 else "Neg", f"t{k}", f"t{k + 1}") for k in range(count)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    if order != "forward":
        nodes.reverse()
    if order == "shuffled":
        random.Random(0).shuffle(nodes)
    return model(nodes, {}, [1, 2])


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
def test_work_grows_with_the_length_of_a_chain(order: str) -> None:
    """Not with its square, and without a recursion into its nodes."""
    network = load(chain(4000, order))
    assert len(network.nodes) == 4000 and ops(network)[:2] == ["Scale", "Relu"]
    short, long = (chain(count, order) for count in (200, 600))
    load(short)  # what is imported and kept by the first call
    assert lines(lambda: load(long)) < 3.3 * lines(lambda: load(short))
