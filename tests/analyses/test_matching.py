"""Matching two networks: by structure, with names as hints; a mismatch names the first difference on both
sides."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.networks import perturb, random_network
from oracle.sketch import Sketch
from reference import evaluate

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.engine.session import Device
from onnxpath.errors import MismatchError
from onnxpath.model.matching import match
from onnxpath.model.network import Network

DEVICE = Device("cpu", "float64", 1)
RNG = np.random.default_rng(2)


def w(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


A, B, C = w(3, 4), w(4, 4), w(4, 2)


def chain(path: str, hidden: np.ndarray = B, relu: bool = True) -> Network:
    s = Sketch(x=(1, 3))
    x = s.matmul("x", A, name="first")
    x = s.relu(x) if relu else x
    return s.network(
        s.matmul(s.relu(s.matmul(x, hidden, name="hidden")), w(hidden.shape[1], 2), name="last"), path=path
    )


def scrambled(network: Network, rng: np.random.Generator) -> Network:
    """Every tensor and node renamed, nodes in another topological order, operands of sums shuffled."""
    fresh = {name: f"t{k}" for k, name in enumerate(rng.permutation([*network.shapes]))}
    waiting, known, nodes = list(network.nodes), set(network.inputs), []
    while waiting:
        ready = [k for k, node in enumerate(waiting) if set(node.inputs) <= known]
        node = waiting.pop(int(rng.choice(ready)))
        known.add(node.output)
        inputs = [fresh[name] for name in node.inputs]
        if node.op in ("Add", "Max"):
            inputs = list(rng.permutation(inputs))
        nodes.append(
            replace(node, name=f"n{len(nodes)}", inputs=tuple(map(str, inputs)), output=fresh[node.output])
        )
    return replace(
        network, nodes=tuple(nodes), inputs=tuple(fresh[n] for n in network.inputs),
        outputs=tuple(fresh[n] for n in network.outputs),
        shapes={fresh[name]: shape for name, shape in network.shapes.items()},
    )  # fmt: skip


@examples(10)
@given(seed=st.integers(0, 2**32 - 1))
def test_names_and_order_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    b = perturb(a, "monotone", rng)
    plain, other = path_metric(a, b, DEVICE), path_metric(a, scrambled(b, rng), DEVICE)
    ours, theirs = (match(a, x).twin for x in (b, scrambled(b, rng)))
    symmetric = sum(node.op in ("Add", "Max") for node in a.nodes)
    if not symmetric:  # two branches of the same structure cannot be told apart without names
        for output, parameters in ours.items():
            for p, q in zip(parameters, theirs[output], strict=True):
                assert (p is None) == (q is None)
                assert p is None or np.array_equal(p.array(), q.array())
        assert plain.path_metric == other.path_metric


def test_a_node_that_differs_is_named_on_both_sides() -> None:
    with pytest.raises(MismatchError) as caught:
        match(chain("old.onnx"), chain("new.onnx", w(4, 5)))
    message = str(caught.value)
    assert "\n" not in message
    assert "old.onnx has node 'hidden' (MatMul, weight 4x4" in message
    assert "new.onnx has node 'hidden' (MatMul, weight 4x5" in message


def test_a_missing_activation_is_named() -> None:
    with pytest.raises(MismatchError, match=r"old\.onnx has node '\w+' \(Relu.*new\.onnx has node 'hidden'"):
        match(chain("old.onnx"), chain("new.onnx", relu=False))


def test_attributes_are_structure() -> None:
    def conv(dilation: int, pad: int) -> Network:
        s = Sketch(x=(1, 2, 7))
        return s.network(s.conv("x", w(3, 2, 3), pads=(pad, pad), dilations=(dilation,)))

    match(conv(1, 0), conv(1, 0))
    with pytest.raises(MismatchError):
        match(conv(1, 0), conv(2, 1))


def _inputs(*shapes: tuple[int, ...]) -> Network:
    s = Sketch(**{f"x{k}": shape for k, shape in enumerate(shapes)})
    return s.network(
        s.relu(s.add(*(s.matmul(f"x{k}", w(shape[1], 2)) for k, shape in enumerate(shapes))))
        if len(shapes) > 1
        else s.relu("x0")
    )


def test_inputs_must_agree() -> None:
    with pytest.raises(
        MismatchError,
        match=(
            r"input 'x0' of sketch has shape \[1, 3\], its counterpart 'x0' of sketch has \[1, 4\].*--shape"
        ),
    ):
        match(_inputs((1, 3)), _inputs((1, 4)))
    with pytest.raises(MismatchError, match=r"1 input\(s\) \(x0\).*2 \(x0, x1\)"):
        match(_inputs((1, 3)), _inputs((1, 3), (1, 3)))


def _heads(names: tuple[str, ...], order: Callable[[list], list]) -> Network:
    s = Sketch(x=(1, 3))
    heads = [
        ("small", s.matmul("x", np.full((3, 2), 1.0, np.float32))),
        ("large", s.matmul("x", np.full((3, 2), 9.0, np.float32))),
    ]
    chosen = order(heads)
    return s.network(*(tensor for _, tensor in chosen), names=names or [name for name, _ in chosen])


def test_outputs_are_matched_by_name_then_by_position() -> None:
    straight = _heads((), lambda heads: heads)
    assert path_metric(straight, _heads((), lambda heads: heads[::-1]), DEVICE).path_metric.upper.value == 0
    other = path_metric(straight, _heads(("p", "q"), lambda heads: heads[::-1]), DEVICE)
    assert other.path_metric.upper.value == 2 * 2 * 3 * 8
    with pytest.raises(MismatchError, match=r"2 output\(s\) \(small, large\).*1 \(small\).*--output-name"):
        match(straight, _heads((), lambda heads: heads[:1]))


def _branches(names: tuple[str, str], swapped: bool, wide: bool = False) -> Network:
    """Two branches with different weights, added; `wide`: and with different structures."""
    s = Sketch(x=(1, 3))
    one, two = np.full((3, 2), 1.0, np.float32), np.full((3, 2), 5.0, np.float32)
    left = s.matmul("x", one, name=names[0])
    right = s.matmul("x", two, name=names[1])
    right = s.relu(right) if wide else right
    return s.network(s.relu(s.add(*((right, left) if swapped else (left, right)))))


def test_swapped_branches_are_matched_by_structure() -> None:
    a, b = _branches(("p", "q"), False, wide=True), _branches(("r", "s"), True, wide=True)
    assert path_metric(a, b, DEVICE).path_metric.upper.value == 0


def test_swapped_branches_of_one_structure_are_matched_by_name() -> None:
    a = _branches(("p", "q"), False)
    assert path_metric(a, _branches(("p", "q"), True), DEVICE).path_metric.upper.value == 0
    assert path_metric(a, _branches(("q", "p"), False), DEVICE).path_metric.upper.value > 0, (
        "names decide, even against the order"
    )


def test_a_name_beats_the_position_of_a_branch_without_one() -> None:
    """The first branch has no namesake; it must not take the partner that the second one is named after."""
    a, b = _branches(("renamed", "q"), False), _branches(("p", "q"), True)
    assert path_metric(a, b, DEVICE).path_metric.upper.value == 0


def test_operands_of_concat_are_not_interchangeable() -> None:
    def build(swapped: bool) -> Network:
        s = Sketch(x=(1, 3))
        parts = [s.matmul("x", np.full((3, 2), 1.0, np.float32)), s.relu("x")]
        return s.network(s.concat(*(parts[::-1] if swapped else parts)))

    with pytest.raises(MismatchError):
        match(build(False), build(True))


def _twice(shared: bool) -> Network:
    s = Sketch(x=(1, 3))
    one = s.relu(s.matmul("x", A, name="one"))
    two = one if shared else s.relu(s.matmul("x", w(3, 4), name="two"))
    return s.network(s.matmul(s.add(one, two), C))


@pytest.mark.parametrize("first_shares", [True, False])
def test_shared_computation_is_structure(first_shares: bool) -> None:
    with pytest.raises(MismatchError, match="share computations differently"):
        match(_twice(first_shares), _twice(not first_shares))


@examples(7)
@given(seed=st.integers(0, 2**32 - 1))
def test_twin_parameters_belong_to_the_paired_node(seed: int) -> None:
    """Putting the twin's parameters into the first network's nodes gives the second network's function."""
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    b = perturb(a, "retrained", rng)
    pairing = match(a, scrambled(b, rng) if not any(node.op in ("Add", "Max") for node in a.nodes) else b)
    nodes = [
        (
            replace(node, weight=pairing.twin[node.output][0], bias=pairing.twin[node.output][1])
            if node.output in pairing.twin
            else node
        )
        for node in pairing.a.nodes
    ]
    x = {"x": rng.standard_normal(a.shapes["x"])}
    ours, theirs = evaluate(replace(a, nodes=tuple(nodes)), x), evaluate(b, x)
    assert all(np.array_equal(ours[name], theirs[name]) for name in a.outputs)


def test_equal_parameters_stored_in_different_shapes() -> None:
    """A bias of one value per channel and one of one value for all are compared value by value."""

    def build(bias: np.ndarray) -> Network:
        s = Sketch(x=(1, 3))
        return s.network(s.matmul("x", A, bias))

    for one, other in (((1,), (4,)), ((4,), (1, 4)), ((1, 1), (4,))):
        assert (
            path_metric(
                build(np.full(one, 2, np.float32)), build(np.full(other, 2, np.float32)), DEVICE
            ).path_metric.upper.value
            == 0
        )
        found = path_metric(
            build(np.full(one, 2, np.float32)), build(np.full(other, 1.5, np.float32)), DEVICE
        )
        assert found.path_metric.exact and found.path_metric.upper.value == 4 * 0.5
