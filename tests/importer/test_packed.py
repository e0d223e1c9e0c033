"""MatMulNBits: the numbers are those of ONNX Runtime, bit by bit; what cannot be read is refused by name."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from importer.building import info, refused
from onnx import TensorProto, helper, numpy_helper

import onnxpath
from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.model.domain import Domain

MODELS = Path(__file__).resolve().parents[2] / "models"
RNG = np.random.default_rng(5)


def packed(
    k: int, n: int, bits: int = 4, block: int = 16, zero: str = "", half: bool = False, bias: bool = False,
    change: dict | None = None, **attributes: int,
) -> onnx.ModelProto:  # fmt: skip
    """y = MatMulNBits(x) with random contents; zero: "", "packed" or "float". change: other tensors in the
    place of random ones."""
    blocks, dtype, kind = (
        -(-k // block),
        np.float16 if half else np.float32,
        TensorProto.FLOAT16 if half else TensorProto.FLOAT,
    )
    tensors = {
        "b": RNG.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8),
        "s": RNG.lognormal(-2, 1, n * blocks).astype(dtype),
    }
    if zero:
        size = n * -(-blocks * bits // 8)
        tensors["z"] = (
            RNG.integers(0, 256, size).astype(np.uint8)
            if zero == "packed"
            else (RNG.random(n * blocks) * 15).astype(dtype)
        )
    if bias:
        tensors["c"] = RNG.standard_normal(n).astype(dtype)
    tensors.update(change or {})
    names = [
        "x",
        "b",
        "s",
        "z" if "z" in tensors else "",
        "g" if "g" in tensors else "",
        "c" if "c" in tensors else "",
    ]
    while not names[-1]:
        names.pop()
    node = helper.make_node(
        "MatMulNBits",
        names,
        ["y"],
        "the_product",
        domain="com.microsoft",
        **{"K": k, "N": n, "bits": bits, "block_size": block, **attributes},
    )
    graph = helper.make_graph([node], "g", [info("x", ["m", k], kind)], [info("y", None, kind)],
                              [numpy_helper.from_array(array, name) for name,
                              array in tensors.items()])  # fmt: skip
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )[0]


# ONNX Runtime has no kernel for 8 bits with zero points that are floats
@pytest.mark.parametrize(
    ("bits", "zero"), [(b, z) for b in (2, 4, 8) for z in ("", "packed", "float") if (b, z) != (8, "float")]
)
@pytest.mark.parametrize(("k", "block"), [(64, 16), (50, 32), (37, 16), (20, 32), (129, 64)])
def test_the_weights_are_those_of_onnx_runtime(k: int, block: int, zero: str, bits: int) -> None:
    """A row of the unit matrix picks the weights of one input, each times 1."""
    model = packed(k, 7, bits, block, zero)
    (node,) = onnxpath.load(model).nodes
    theirs = run(model, np.eye(k, dtype=np.float32))
    assert node.op == "MatMul" and node.weight is not None and node.weight.sources[0] == "b"
    ours = node.weight.array()
    # a kernel may form q s - z s in one fused step: that is one rounding of the largest product away
    np.testing.assert_allclose(
        ours,
        theirs,
        rtol=0,
        atol=2.0**-23 * 256 * float(np.abs(numpy_helper.to_array(model.graph.initializer[1])).max()),
    )
    if zero != "float":
        assert np.array_equal(ours, theirs)


def test_a_bias_and_halves() -> None:
    model = packed(40, 6, bias=True)
    network = onnxpath.load(model)
    (node,) = network.nodes
    x = RNG.standard_normal((3, 40)).astype(np.float32)
    assert node.bias is not None and node.weight is not None
    np.testing.assert_allclose(
        x @ node.weight.array() + node.bias.array(), run(model, x), rtol=1e-5, atol=1e-4
    )
    half = packed(40, 6, half=True)
    (node,) = onnxpath.load(half).nodes
    assert node.weight is not None
    np.testing.assert_allclose(
        node.weight.array(), run(half, np.eye(40, dtype=np.float16)).astype(np.float32), rtol=2.0**-10
    )


def test_a_packed_file_is_compared_with_its_float_twin(tmp_path: Path) -> None:
    """What onnxruntime's quantizer makes of a file of matrices."""
    source = onnx.load(MODELS / "digits_mlp.onnx")
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in source.graph.initializer}
    model = onnx.ModelProto()
    model.CopyFrom(source)
    del model.graph.node[:]
    for node in source.graph.node:
        if node.op_type != "Gemm":
            model.graph.node.append(node)
            continue
        weight = values[node.input[1]]
        weight = weight if any(a.name == "transB" and a.i for a in node.attribute) else weight.T
        n, k = weight.shape
        blocks = -(-k // 16)
        wide = np.zeros((n, blocks * 16), np.float32)
        wide[:, :k] = weight
        wide = wide.reshape(n, blocks, 16)
        scale = np.maximum(np.abs(wide).max(2), 1e-6) / 7
        q = np.clip(np.rint(wide / scale[..., None]) + 8, 0, 15).astype(np.uint8)
        name = node.input[1]
        for suffix, array in (("_b", q[..., ::2] | (q[..., 1::2] << 4)), ("_s", scale.astype(np.float32))):
            model.graph.initializer.append(
                numpy_helper.from_array(np.ascontiguousarray(array), name + suffix)
            )
        inputs = [node.input[0], name + "_b", name + "_s", "", "", node.input[2]]
        model.graph.node.append(
            helper.make_node(
                "MatMulNBits",
                inputs,
                list(node.output),
                node.name,
                domain="com.microsoft",
                K=k,
                N=n,
                bits=4,
                block_size=16,
            )
        )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    path = tmp_path / "packed.onnx"
    onnx.save(model, path)
    metric = onnxpath.path_metric(source, str(path))
    assert 0.01 < metric.relative < 1
    shape = tuple(d.dim_value or 1 for d in source.graph.input[0].type.tensor_type.shape.dim)
    x = RNG.random((4, *shape[1:])).astype(np.float32)
    found = onnxpath.bound(str(MODELS / "digits_mlp.onnx"), str(path), Domain.samples(x), search=0)
    assert found.largest.files is not None and 0 < found.largest.files <= found.largest.certified.value
    assert found.largest.files == pytest.approx(found.largest.found, rel=1e-4)


BROKEN = {
    "order": (packed(32, 4, change={"g": np.arange(32, dtype=np.int32)}), UnsupportedError, "g_idx"),
    "accuracy": (packed(32, 4, accuracy_level=4), UnsupportedError, "accuracy_level"),
    "bits": (packed(32, 4, bits=3), UnsupportedError, "MatMulNBits"),
    "block": (packed(36, 4, block=12), ModelError, "block_size is 12"),
    "size": (packed(32, 4, change={"b": np.zeros((4, 2, 9), np.uint8)}), ModelError,
    "expected uint8 [4, 2, 8]"),
    "scales": (packed(32, 4, change={"s": np.ones(7, np.float32)}), ModelError, "expected [4, 2] floats"),
    "NaN": (packed(32, 4, change={"s": np.full(8, np.nan, np.float32)}), ModelError, "NaN"),
    "zero points": (packed(32, 4, change={"z": np.ones(3, np.uint8)}), ModelError, "zero points 'z'"),
    "negative size": (packed(32, 4, N=-4), ModelError, "attribute N is -4"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BROKEN))
def test_what_cannot_be_read_is_named(name: str) -> None:
    model, kind, words = BROKEN[name]
    refused(model, words, "'the_product'", kind=kind)
