"""Messages are one line of at most 400 characters, whatever a file calls its nodes."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpath.cli.main import run
from onnxpath.errors import LONGEST, ModelError, OnnxPathError, shortened


def test_short_messages_stay() -> None:
    for text in ("", "a" * LONGEST, "folder/model.onnx: node 'x': is wrong; do this"):
        assert shortened(text) == str(ModelError(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "model.onnx: node '" + "n" * 10**6 + "' (Loop): control flow; unroll it",
        "model.onnx: the tensors "
        + ", ".join(f"'{'t' * 40}{k}'" for k in range(5000))
        + " (Loop): control flow; unroll it",
        "model.onnx: node '" + "a b " * 10**5 + "' (Loop): control flow; unroll it",
    ],
)
def test_long_names_lose_their_middle(text: str) -> None:
    found = str(OnnxPathError(text))
    assert (
        len(found) <= LONGEST
        and found.startswith("model.onnx: ")
        and found.endswith("unroll it")
        and "…" in found
    )


@pytest.mark.parametrize("name", ["n" * 10**6, "node of many words " * 10**4, "\n\t\0" * 10**4])
@pytest.mark.parametrize("op", ["Loop", "Nonsense", "LRN", "Conv"])
def test_files_with_long_names(name: str, op: str, tmp_path, capsys) -> None:
    """In files, on the command line: one line of 400 characters."""
    x, y = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4)),
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None),
    )
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), f"{name}w")
    nodes = [
        helper.make_node("MatMul", ["x", f"{name}w"], [f"{name}h"], name),
        helper.make_node(op, [f"{name}h"] * 2, [name], name + "2"),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [weight]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    for command in (
        ["norm"],
        ["norm", "-v"],
        ["inspect", "--output-name", "z" * 5000],
        ["norm", "--shape", "y" * 5000 + "=1x4"],
    ):
        assert run([command[0], str(tmp_path / "model.onnx"), *command[1:]]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert all(len(line) <= 400 for line in lines) and lines[-1].startswith("onnxpath: "), [
            len(line) for line in lines
        ]
        assert len(lines) == 1 or "-v" in command
