"""Files of a few hundred bytes that ask for gigabytes are refused, in one line, before the memory is
taken."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpath.errors import ModelError, OnnxPathError, UnsupportedError
from onnxpath.importer import load
from onnxpath.importer.decode import memory
from onnxpath.importer.decode.functions import LARGEST
from onnxpath.importer.decode.memory import Budget, TooLargeError

CASES = Path(__file__).resolve().parents[1] / "data" / "cases" / "attack"
MEGABYTE = 1 << 20


def model(
    nodes: list, shape: tuple[int, ...] = (1, 4), opset: int = 17, functions: tuple = (), **weights: object
) -> bytes:
    """weights: constants by name; `y` is the output."""
    x, y = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    )
    held = [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("f", 1)]
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    return helper.make_model(
        graph, opset_imports=imports, ir_version=8, functions=functions
    ).SerializeToString()


def node(op: str, inputs: str, output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(","), [output], **attributes)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def doubling(op: str, count: int, start: str = "x", **attributes: object) -> list[onnx.NodeProto]:
    names = [start, *(f"t{k}" for k in range(count - 1)), "y"]
    return [node(op, f"{a},{a}", b, **attributes) for a, b in zip(names[:-1], names[1:], strict=True)]


def function_bomb(depth: int) -> bytes:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    made = []
    for k in range(depth):
        name, domain = (f"F{k + 1}", "f") if k + 1 < depth else ("Relu", "")
        calls = [
            helper.make_node(name, ["a"], ["t"], domain=domain),
            helper.make_node(name, ["t"], ["b"], domain=domain),
        ]
        made.append(helper.make_function("f", f"F{k}", ["a"], ["b"], calls, imports))
    return model([helper.make_node("F0", ["x"], ["y"], domain="f")], functions=tuple(made))


IMAGE = (1, 1, 4, 4)
BOMBS = {
    "Pad": lambda: model([node("Pad", "x,p")], IMAGE, 19, p=ints(0, 0, 0, 0, 0, 0, 20000, 20000)),
    "Pad with a constant": lambda: model([node("Pad", "x,p,c")], IMAGE, 19,
    p=ints(0, 0, 0, 0, 0, 0, 20000, 20000), c=np.float32(1)),
    "Pad, edge": lambda: model([node("Pad", "x,p", mode="edge")], IMAGE, 19,
    p=ints(0, 0, 0, 0, 0, 0, 20000, 20000)),
    "Pad, wrap": lambda: model([node("Pad", "x,p", mode="wrap")], IMAGE, 19,
    p=ints(0, 0, 0, 0, 0, 0, 10**9, 0)),
    "Concat": lambda: model(doubling("Concat", 28, axis=1)),
    "outputs alone": lambda: model(doubling("Concat", 23, axis=1)),
    "Expand": lambda: model([node("Expand", "x,s")], s=ints(1 << 28, 4)),
    "Expand inside": lambda: model([node("Expand", "x,s", "h"), node("ReduceSum", "h", "y", keepdims=0)],
    s=ints(1 << 28, 4)),
    "Tile": lambda: model([node("Tile", "x,r")], r=ints(1, 1 << 27)),
    "Resize": lambda: model([node("Resize", "x,,s", mode="nearest")], IMAGE,
    s=np.array([1, 1, 9000, 9000], np.float32)),
    "Resize, linear": lambda: model([node("Resize", "x,,s", mode="linear")], (1, 1, 1, 20000),
    s=np.array([1, 1, 1, 3], np.float32)),
    "ConstantOfShape": lambda: model([node("ConstantOfShape", "s", "c"), node("Add", "c,x", "y")],
    s=ints(1 << 28, 4)),
    "ConstantOfShape, computed": lambda: model([node("ConstantOfShape", "s", "c"), node("Exp", "c", "e"),
    node("MatMul", "x,e")], s=ints(4, 1 << 28)),
    "a weight of one cell": lambda: model([node("ConstantOfShape", "s", "c"), node("MatMul", "x,c", "h"),
    node("ReduceSum", "h", "y", keepdims=0)],
                                          (1, 1 << 14), s=ints(1 << 14, 1 << 15)),
    "constants": lambda: model([*doubling("Concat", 28, "c", axis=0)[:-1],
    node("Concat", "t26,t26", "k", axis=0), node("ReduceMax", "k", "m", keepdims=0),
                                node("Mul", "x,m")], c=np.ones(16, np.float32)),
    "Range": lambda: model([node("Range", "a,b,d", "r"), node("ReduceMax", "r", "m", keepdims=0),
    node("Mul", "x,m")],
                           a=np.float32(0), b=np.float32(1e9), d=np.float32(1)),
    "Tile of a constant": lambda: model([node("Tile", "c,r", "t"), node("ReduceMax", "t", "m", keepdims=0),
    node("Mul", "x,m")],
                                        c=np.ones(4, np.float32), r=ints(1 << 30)),
    "an outer product": lambda: model([node("MatMul", "a,b", "t"), node("ReduceMax", "t", "m", keepdims=0),
    node("Mul", "x,m")],
                                      a=np.ones((40000, 1), np.float32), b=np.ones((1, 40000), np.float32)),
    "OneHot": lambda: model([node("OneHot", "i,d,v", "t"), node("ReduceMax", "t", "m", keepdims=0),
    node("Mul", "x,m")],
                            i=ints(1, 2), d=ints(1 << 31), v=np.array([0, 1], np.float32)),
    "EyeLike": lambda: model([node("ConstantOfShape", "s", "c"), node("EyeLike", "c", "t"),
    node("ReduceMax", "t", "m", keepdims=0), node("Mul", "x,m")],
                             s=ints(1 << 15, 1 << 15)),
    "Conv of constants": lambda: model([node("Conv", "a,w", "t", kernel_shape=[1000, 1000]),
    node("ReduceMax", "t", "m", keepdims=0), node("Mul", "x,m")],
                                       a=np.ones((1, 1, 1100, 1100), np.float32),
                                       w=np.ones((1, 1, 1000, 1000), np.float32)),
    "a batch": lambda: model([node("Conv", "x,w", "h", kernel_shape=[3, 3]), node("Relu", "h")],
    (400_000, 1, 16, 16), w=np.ones((16, 1, 3, 3), np.float32)),
    "an input": lambda: model([node("Relu", "x")], (1, 1 << 30)),
    "functions": lambda: function_bomb(40),
    **{name: (CASES / f"{name}.onnx").read_bytes for name in ("pad5edge", "pad5constant", "concat_bomb24",
    "const_bomb", "fn_bomb40")},
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_the_memory_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with 2 GB left."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 2048 * MEGABYTE)
    data = BOMBS[name]()
    load(model([node("Relu", "x")]))  # what is imported on the first use
    tracemalloc.start()
    try:
        with pytest.raises(OnnxPathError) as caught:
            load(data)
        assert tracemalloc.get_traced_memory()[1] < 700 * MEGABYTE
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, TooLargeError | ModelError | UnsupportedError)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 380


def test_what_the_memory_suffices_for_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 64 * MEGABYTE)
    load(model(doubling("Concat", 12, axis=1)))
    with pytest.raises(TooLargeError, match=r"MB that this machine has"):
        load(model(doubling("Concat", 18, axis=1)))
    monkeypatch.setattr(memory, "available_bytes", lambda: 1024 * MEGABYTE)
    load(model(doubling("Concat", 18, axis=1)))


def test_functions() -> None:
    assert len(load(function_bomb(5)).nodes) == 1  # 32 Relus in a row are one
    with pytest.raises(TooLargeError, match=rf"are \d+ nodes when they are inlined; at most {LARGEST}"):
        load(function_bomb(22))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    calls = [helper.make_node("G", ["a"], ["b"], domain="f")]
    ring = [
        helper.make_function(
            "f", name, ["a"], ["b"], [helper.make_node(other, ["a"], ["b"], domain="f")], imports
        )
        for name, other in ("FG", "GF")
    ]
    for made in ((helper.make_function("f", "G", ["a"], ["b"], calls, imports),), tuple(ring)):
        with pytest.raises(ModelError, match="calls itself"):
            load(model([helper.make_node("G", ["x"], ["y"], domain="f")], functions=made))
    chain = [
        helper.make_function("f", f"F{k}", ["a"], ["b"],
        [helper.make_node(f"F{k + 1}" if k < 299 else "Relu", ["a"], ["b"], domain="f" if k < 299 else "")],
        imports)
        for k in range(300)
    ]  # fmt: skip
    with pytest.raises(UnsupportedError, match="300 deep"):
        load(model([helper.make_node("F0", ["x"], ["y"], domain="f")], functions=tuple(chain)))


def test_a_budget_is_charged_once_for_everything() -> None:
    budget = Budget(1000)
    budget.hold(600, "the first")
    budget.check(400, "the second")
    with pytest.raises(TooLargeError, match="the third brings what this file asks for to 1.1 kB"):
        budget.hold(500, "the third")
    assert budget.held == 600


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of the address space are kept by Linux"
)
@pytest.mark.parametrize("name", ["pad5edge", "const_bomb"])
def test_the_limit_of_the_process_counts(name: str) -> None:
    """`ulimit -v`: the file is refused within it, and far less is taken."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30));"
        "from onnxpath.cli.main import run; code = run(['norm', sys.argv[1]]);"
        # of this process alone: what getrusage says begins at the size of the process that started it
        "print(code, *(int(line.split()[1]) >> 10 for line in open('/proc/self/status') if 'VmHWM' in line))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(CASES / f"{name}.onnx")],
        capture_output=True,
        text=True,
        cwd=CASES.parents[3],
    )
    status, used = done.stdout.split()
    assert status == "2" and int(used) < 1000 and done.stderr.count("\n") == 1 and "memory" in done.stderr, (
        done.stderr
    )
