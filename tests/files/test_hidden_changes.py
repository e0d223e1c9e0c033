"""Changes that no network tells, and checks that must not pass because of them: labels beside scores,
constants, types, keys, batches, casts."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxpath
from onnxpath.model.interface import changes
from tests.files.support import classifier, model

F, I64 = TensorProto.FLOAT, TensorProto.INT64
X = np.random.default_rng(3).normal(size=(20, 4)).astype(np.float32)
SCORES = {"w": np.random.default_rng(4).normal(size=(4, 3)).astype(np.float32)}


def labelled(*labels: int) -> onnx.ModelProto:
    """Scores, and the label of the largest one out of a table."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["place"], axis=1, keepdims=0),
        helper.make_node("Gather", ["labels", "place"], ["label"]),
    ]
    ports = [("label", I64, ["n"]), ("scores", F, ["n", 3])]
    return model(nodes, [("x", F, ["n", 4])], ports, {**SCORES, "labels": np.array(labels, np.int64)})


def beside(constant: float) -> onnx.ModelProto:
    """Scores, and an output that depends on no input."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Identity", ["c"], ["version"]),
    ]
    ports = [("scores", F, ["n", 3]), ("version", F, [1])]
    return model(nodes, [("x", F, ["n", 4])], ports, {**SCORES, "c": np.array([constant], np.float32)})


def failed(a: onnx.ModelProto, b: onnx.ModelProto, **budgets) -> set[str]:
    (pair,) = onnxpath.check(a, b, **budgets).pairs
    return {budget.name for budget in pair.budgets if not budget.passed}


def test_labels_beside_scores_count_as_predictions() -> None:
    a, b = labelled(7, 8, 9), labelled(8, 9, 7)
    assert failed(a, b, inputs={"x": X}, max_flip_rate=0.5) == {"max-flip-rate"}
    assert (
        onnxpath.compare(a, b, {"x": X}).differing == len(X)
        and onnxpath.compare(a, a, {"x": X}).differing == 0
    )


def test_outputs_that_depend_on_no_input_are_compared() -> None:
    assert failed(beside(1), beside(1), max_metric=0) == set()
    assert failed(beside(1), beside(7), max_metric=0) == {"interface"}
    assert failed(beside(1), beside(7), max_relative=1e-6, allow_interface_change=["names"]) == {"interface"}


def test_a_harmless_change_hides_no_difference() -> None:
    """A free batch that became fixed beside a quantizer that rounds all probabilities to 0."""
    a, b = classifier("Softmax"), classifier("Softmax", batch=1, output="p")
    zero = {"step": np.float32(100), "zero": np.uint8(0)}
    for name, array in zero.items():
        b.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    b.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["p", "step", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["y"]),
        ]
    )
    b.graph.output[0].name = "y"
    assert "max-bound" in failed(a, b, max_bound=1e-4, domain=onnxpath.Domain.radius(1.0))


def test_a_type_that_is_not_declared_is_the_one_that_runs() -> None:
    a, b = classifier(), classifier(output="f")
    b.graph.node.append(helper.make_node("Cast", ["f"], ["y"], to=TensorProto.DOUBLE))
    del b.graph.output[:]
    b.graph.output.append(onnx.ValueInfoProto(name="y"))
    assert failed(a, b, max_metric=0) == {"interface"}


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_a_cast_to_half_at_the_end_is_a_step_and_no_fault(kind: int) -> None:
    made = classifier(output="f")
    made.graph.node.extend(
        [helper.make_node("Cast", ["f"], ["half"], to=kind), helper.make_node("Cast", ["half"], ["y"], to=F)]
    )
    made.graph.output[0].name = "y"
    assert failed(made, made, max_metric=0) == set()
    assert failed(classifier(), made, max_metric=0) >= {"interface"}


def test_a_negative_axis_of_a_flatten() -> None:
    def made(axis: int) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Shape", ["h"], ["s"]),
            helper.make_node("Flatten", ["h"], ["f"], axis=axis),
            helper.make_node("Softmax", ["f"], ["p"], axis=-1),
            helper.make_node("Reshape", ["p", "s"], ["y"]),
        ]  # fmt: skip
        return model(nodes, [("x", F, (1, 2, 3, 2))], [("y", F, (1, 2, 3, 2))])

    found = {axis: onnxpath.load(made(axis)).interface for axis in (1, 2, -3, -2)}
    assert (
        not changes(found[1], found[-3]) and not changes(found[2], found[-2]) and changes(found[2], found[-3])
    )


def test_counts_hide_neither_names_nor_order() -> None:
    def made(*names: str) -> onnx.ModelProto:
        nodes = [helper.make_node("MatMul", ["x", "w"], [names[0]])]
        nodes += [helper.make_node("Relu", [names[0]], [name]) for name in names[1:]]
        return model(nodes, [("x", F, ["n", 4])], [(name, F, ["n", 3]) for name in names], SCORES)

    kinds = [
        {
            change.kind
            for change in changes(
                onnxpath.load(made("a", "b")).interface, onnxpath.load(made(*other)).interface
            )
        }
        for other in (("a", "b", "c"), ("c", "a", "b"), ("a", "c", "d"))
    ]
    assert kinds[0] == {"count"} and kinds[1] >= {"count", "order"} and kinds[2] >= {"count", "names"}


def test_files_that_differ_on_a_batch_alone() -> None:
    """h + k (h - mean over the batch): the same for one input, another for several."""

    def made(factor: float) -> onnx.ModelProto:
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("ReduceMean", ["h"], ["m"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["h", "m"], ["d"]), helper.make_node("Mul", ["d", "k"], ["e"]),
            helper.make_node("Add", ["h", "e"], ["y"]),
        ]  # fmt: skip
        return model(
            nodes, [("x", F, ["n", 4])], [("y", F, ["n", 3])], {**SCORES, "k": np.array(factor, np.float32)}
        )

    assert "max-difference" in failed(made(0.0), made(5.0), inputs={"x": X}, max_difference=1e-4)


def test_whole_number_inputs_are_given_whole_numbers() -> None:
    made = classifier()
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    made.graph.input[0].name = "bytes"
    made.graph.node.insert(0, helper.make_node("Cast", ["bytes"], ["x"], to=F))
    assert failed(made, made, max_metric=0) == set()
    assert failed(made, made, max_bound=0, domain=onnxpath.Domain.box(0, 255)) == set()


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    a = labelled(1, 2, 3)
    for wrong in (
        np.full((2, 4), np.nan),
        np.full((2, 4), np.inf),
        np.ones((2, 4)) + 1j,
        np.array([["a"] * 4]),
    ):
        with pytest.raises(onnxpath.UsageError):
            onnxpath.check(a, a, inputs={"x": wrong}, max_difference=1)


def test_networks_that_no_file_holds_are_compared_by_their_interfaces() -> None:
    a, b = onnxpath.load(classifier("Softmax")), onnxpath.load(classifier("Sigmoid"))
    assert failed(a, a, max_metric=0) == set() and failed(a, b, max_metric=0) == {"interface"}


def test_files_without_inputs() -> None:
    made = model(
        [helper.make_node("Identity", ["c"], ["y"])], [], [("y", F, [1])], {"c": np.ones(1, np.float32)}
    )
    assert onnxpath.compare(made, made).largest == 0
