"""Pairs of files of which the networks agree and the files do not, or the other way round: what check,
certify and bound say of them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from cli_support import Outcome

from tests.files.support import CASES, tamper

FILES = CASES / "files"
DEFINITION = ("--file-option", "graph_optimization_level=disable_all")
SATURATING = ("sat_float.onnx", "sat_qdq_u8s8.onnx")


def pair(a: str, b: str) -> tuple[Path, Path]:
    return FILES / a, FILES / b


def gate(program, *options: object) -> Outcome:
    return program(
        "check", *pair(*SATURATING), "--inputs", FILES / "sat_inputs.npz", "--max-flip-rate", "3%",
        "--max-bound", 1, "--epsilon", 0.001,
        "--min-agree", "95%", "--format", "json", *options,
    )  # fmt: skip


@pytest.fixture
def saturating(monkeypatch) -> None:
    """Kernels that saturate, on any processor: the largest score of the definition is cut off below the
    others."""

    def change(y: np.ndarray) -> np.ndarray:
        return np.where(y == y.max(axis=1, keepdims=True), y.min(axis=1, keepdims=True) - 1, y).astype(
            y.dtype
        )

    tamper(monkeypatch, change, lambda source: str(source).endswith("sat_qdq_u8s8.onnx"))


def test_the_definition_passes_on_every_processor(program) -> None:
    found = gate(program, *DEFINITION).document()
    (entry,) = found["entries"]
    assert (
        found["passed"]
        and entry["files"]["b"]["faithful"] is True
        and entry["files"]["differing"] == 0
        and entry["interface"] == []
    )


def test_kernels_that_saturate_do_not_pass(program, saturating) -> None:
    found = gate(program, *DEFINITION).document(1)
    (entry,) = found["entries"]
    failed = {budget["name"] for budget in entry["budgets"] if not budget["passed"]}
    assert failed >= {"max-flip-rate", "min-agree", "faithful"} and entry["files"]["differing"] == 200
    assert (entry["files"]["a"]["faithful"], entry["files"]["b"]["faithful"]) == (True, False)
    assert next(budget["value"] for budget in entry["budgets"] if budget["name"] == "min-agree") == 0


def test_an_unfaithful_file_may_be_allowed_but_its_budgets_may_not(program, saturating) -> None:
    found = gate(program, "--allow-unfaithful", *DEFINITION).document(1)
    (entry,) = found["entries"]
    assert {budget["name"] for budget in entry["budgets"] if not budget["passed"]} >= {
        "max-flip-rate",
        "min-agree",
    }
    assert not any(budget["name"] == "faithful" for budget in entry["budgets"])
    assert any("unfaithful" in note for note in entry["notes"])


def test_nothing_agrees_that_the_files_contradict(program, saturating, tmp_path) -> None:
    points = tmp_path / "found.npz"
    command = (
        "certify",
        *pair(*SATURATING),
        "--inputs",
        FILES / "sat_inputs.npz",
        "--epsilon",
        0.001,
        "--effort",
        0,
        "--format",
        "json",
    )
    found = program(*command, *DEFINITION, "--counterexamples", points).document()
    assert (
        found["total"]["agree"]["count"] == 0
        and found["total"]["disagree"]["count"] == 200
        and found["files"]["b"]["faithful"] is False
    )
    kept = np.load(points)
    assert len(kept["index"]) == 200 and (kept["class_a"] != kept["class_b"]).all()


def test_an_unfaithful_file_agrees_nowhere_though_its_classes_do(program, monkeypatch) -> None:
    tamper(monkeypatch, lambda y: y + np.float32(1), lambda source: str(source).endswith("sat_qdq_u8s8.onnx"))
    command = (
        "certify",
        *pair(*SATURATING),
        "--inputs",
        FILES / "sat_inputs.npz",
        "--epsilon",
        0.001,
        "--effort",
        1,
        "--format",
        "json",
    )
    found = program(*command, *DEFINITION).document()
    assert found["total"]["agree"]["count"] == 0 and found["files"]["differing"] == 0
    assert any("proved of the networks" in note for note in found["notes"])


def test_margins_and_rates_are_those_of_the_files(program, saturating) -> None:
    command = (
        "bound",
        *pair(*SATURATING),
        "--inputs",
        FILES / "sat_inputs.npz",
        "--margin",
        "--search",
        0,
        "--format",
        "json",
    )
    found = program(*command, *DEFINITION).document()
    assert (
        found["margin"]["agree"] == 0
        and found["flips"]["differ"] == 200
        and found["files"]["b"]["faithful"] is False
    )


def test_what_this_processor_does_is_what_is_said(program) -> None:
    """Without VNNI all of 200 classes change and nothing passes; with VNNI nothing does, and everything
    passes."""
    import onnxruntime

    a, b = (onnxruntime.InferenceSession(str(path)) for path in pair(*SATURATING))
    x = next(iter(np.load(FILES / "sat_inputs.npz").values()))
    flips = sum(
        int(a.run(None, {"x": x[k : k + 1]})[0].argmax() != b.run(None, {"x": x[k : k + 1]})[0].argmax())
        for k in range(len(x))
    )
    found = gate(program)
    assert found.code == (1 if flips else 0)


TAILS = [
    ("tail_softmax.onnx", "tail_softmax_axis0.onnx", {"tail"}),
    ("tail_softmax.onnx", "tail_softmax_twice.onnx", {"tail"}),
    ("tail_softmax.onnx", "tail_logsoftmax.onnx", {"tail"}),
    ("tail_logits.onnx", "tail_int32.onnx", {"types", "tail"}),
    ("tail_logits.onnx", "tail_argmax.onnx", {"types", "shapes", "tail"}),
]


@pytest.mark.parametrize(("a", "b", "kinds"), TAILS)
def test_other_ends_do_not_pass(program, a: str, b: str, kinds: set[str]) -> None:
    options = (
        "--max-relative",
        "0.001%",
        "--max-bound",
        0.001,
        "--radius",
        1,
        "--inputs",
        FILES / "tail_inputs.npz",
        "--max-flip-rate",
        "3%",
    )
    found = program("check", *pair(a, b), *options, "--format", "json").document(1)
    (entry,) = found["entries"]
    assert {change["kind"] for change in entry["interface"]} == kinds
    failed = next(budget for budget in entry["budgets"] if budget["name"] == "interface")
    assert not failed["passed"] and all(change["text"] in failed["basis"] for change in entry["interface"])
    text = program("check", *pair(a, b), *options)
    assert text.code == 1 and "FAILED" in text.out and "ends with" in text.out


def test_a_change_that_is_meant_passes(program) -> None:
    files = pair("tail_softmax.onnx", "tail_logsoftmax.onnx")
    assert program("check", *files, "--max-relative", "1e-6").code == 1
    assert program("check", *files, "--max-relative", "1e-6", "--allow-interface-change", "tail").code == 0
    assert program("check", *files, "--max-relative", "1e-6", "--allow-interface-change", "names").code == 1


def test_spellings_of_one_function_pass(program) -> None:
    assert (
        program(
            "check",
            *pair("seg_softmax_opset12.onnx", "seg_softmax_opset13_converted.onnx"),
            "--max-relative",
            "1e-6",
        ).code
        == 0
    )


@pytest.mark.parametrize("opset", [9, 12, 13])
def test_softmax_of_any_opset_is_quantized(program, tmp_path, opset: int) -> None:
    out = tmp_path / "out.onnx"
    assert program("quantize", CASES / "survey" / f"softmax_rank4_opset{opset}.onnx", "-o", out).code == 0
    onnx.checker.check_model(onnx.load(out))


@pytest.mark.parametrize("name", ["fp16_converter_keep_io.onnx", "fp16_converter_nodes_renamed.onnx"])
def test_half_precision_twins(program, tmp_path, name: str) -> None:
    """The tensor that a network's output is in a file is found whatever its nodes are called; counterexamples
    hold on the files' outputs."""
    import onnxruntime

    files, images = pair("fp16_float.onnx", name), FILES / "images_100.npz"
    found = program("bound", *files, "--inputs", images, "--format", "json").document()
    assert found["files"]["b"]["faithful"] is True and 0 < found["largest"]["files"]["value"] < 0.002
    points = tmp_path / "found.npz"
    program(
        "certify", *files, "--inputs", images, "--epsilon", 0.05, "--low", 0, "--high", 1, "--effort", 1,
        "--counterexamples", points
    )  # fmt: skip
    kept = np.load(points)
    sessions = [onnxruntime.InferenceSession(str(path)) for path in files]
    (item,) = sessions[0].get_inputs()
    for k in range(len(kept["index"])):
        classes = [
            int(session.run(None, {item.name: kept[item.name][k : k + 1].astype(np.float32)})[0].argmax())
            for session in sessions
        ]
        assert classes == [kept["class_a"][k], kept["class_b"][k]] and classes[0] != classes[1]


def test_budgets_on_outputs_need_no_structure(program, tmp_path) -> None:
    """--max-difference and --max-flip-rate, for files of which nothing is read."""
    files = pair("tail_softmax.onnx", "fp16_float.onnx")
    assert (
        program("check", *files, "--inputs", FILES / "tail_inputs.npz", "--max-difference", 1).code == 2
    )  # other inputs
    a, b = pair("tail_softmax.onnx", "tail_softmax_twice.onnx")
    options = ("--inputs", FILES / "tail_inputs.npz", "--allow-interface-change", "tail", "--format", "json")
    assert program("check", a, b, "--max-difference", 0.5, *options).document()["passed"]
    found = program("check", a, b, "--max-difference", 0.2, *options).document(1)
    (budget,) = found["entries"][0]["budgets"]
    assert (
        budget["name"] == "max-difference"
        and budget["certainty"] == "observed"
        and 0.2 < budget["value"] < 0.3
    )


def test_a_custom_domain_is_not_confirmed(program, tmp_path) -> None:
    """A QONNX quantizer, which ONNX Runtime does not run: no check passes unless that is allowed."""
    from onnx import TensorProto, helper, numpy_helper

    weights = [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")]
    weights += [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("s", 0.1), ("z", 0.0), ("n", 8.0))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Quant", ["h", "s", "z", "n"], ["y"], "quant", domain="qonnx.custom_op.general",
        signed=1, narrow=0, rounding_mode="ROUND"),
    ]  # fmt: skip
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    path = tmp_path / "q.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    found = program("check", path, path, "--max-bound", 1, "--radius", 1, "--format", "json").document(1)
    (entry,) = found["entries"]
    assert entry["files"]["a"]["faithful"] is None and "not confirmed" in entry["files"]["a"]["reason"]
    assert {budget["name"] for budget in entry["budgets"] if not budget["passed"]} == {"faithful"}
    assert program("check", path, path, "--max-bound", 1, "--radius", 1, "--allow-unfaithful").code == 0
