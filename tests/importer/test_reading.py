"""Reading files: what is broken is refused in one line that says what and where; what is odd but sound is read."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpath.errors import ModelError, OnnxPathError, UnsupportedError, UsageError
from onnxpath.importer import load, wire
from onnxpath.importer.memory import available_bytes, human

W = np.arange(24, dtype=np.float32).reshape(8, 3) - 10


def info(name: str, shape: object, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def gemm(shape: object = (1, 8), weight: TensorProto | None = None, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], name="fc")], "g", [info("x", shape, kind)], [info("y", None)],
        [weight or numpy_helper.from_array(W, "w")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def chain(*nodes: onnx.NodeProto, outputs: str = "y", shape: object = (1, 8), weights: dict | None = None) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes), "g", [info("x", shape)], [info(name, None) for name in outputs.split(",")],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(",") if inputs else [], outputs.split(","), name=f"the_{op}", **attributes)


def refused(source: object, *words: str, kind: type[Exception] = ModelError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        load(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    return message


# --- the file ---------------------------------------------------------------------------------------------------------


def test_files_that_are_no_models(tmp_path: Path) -> None:
    refused(tmp_path / "absent.onnx", "absent.onnx", "no such file")
    refused(tmp_path, "directory")
    for name, data, words in [
        ("empty", b"", "empty"),
        ("text", b"hello, this is no model\n" * 20, "not an ONNX model"),
        ("zeros", bytes(100), "not an ONNX model"),
        ("gzip", b"\x1f\x8b\x08" + bytes(20), "gzip"),
        ("zip", b"PK\x03\x04" + bytes(20), "zip"),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ]:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        refused(path, str(path), words)
        refused(data, words)
    whole = gemm().SerializeToString()
    for length in (3, len(whole) // 2, len(whole) - 1):
        refused(whole[:length])
    refused("a\0b.onnx", "cannot be read")
    refused("/dev/null", "regular file")
    refused(3, "a model is a path", kind=UsageError)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(gemm().SerializeToString())
    path.chmod(0)
    refused(path, "cannot be read")


def test_all_sources_give_the_same_network(tmp_path: Path) -> None:
    proto = gemm(weight=numpy_helper.from_array(np.random.default_rng(0).standard_normal((8, 300)).astype(np.float32), "w"))
    data = proto.SerializeToString(deterministic=True)
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    networks = [load(path), load(str(path)), load(data), load(proto)]
    assert {network.sha256 for network in networks} == {hashlib.sha256(data).hexdigest()}
    for network in networks:
        weight = network.nodes[0].weight
        np.testing.assert_array_equal(weight.array(), numpy_helper.to_array(proto.graph.initializer[0]))
        assert weight.base.flags.aligned and not weight.base.flags.writeable and weight.base.dtype == np.float32
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen([sys.executable, "-c", f"open({str(tmp_path / 'pipe')!r}, 'wb').write(open({str(path)!r}, 'rb').read())"])
    assert load(tmp_path / "pipe").sha256 == networks[0].sha256
    assert writer.wait() == 0


def test_stripping_loses_only_large_raw_data() -> None:
    proto = gemm(weight=numpy_helper.from_array(np.ones((8, 300), np.float32), "w"))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "small"))
    data = proto.SerializeToString()
    stripped, spans = wire.strip(data, len(data))
    (index, (offset, length)), *rest = spans.items()
    assert not rest and index == 0 and data[offset : offset + length] == proto.graph.initializer[0].raw_data
    parsed = onnx.ModelProto.FromString(stripped)
    assert len(stripped) < 1000 and not parsed.graph.initializer[0].raw_data
    parsed.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data
    assert parsed == proto


def test_nothing_is_written_to_stdout(capfd: pytest.CaptureFixture[str], real_models: Path) -> None:
    for path in sorted(real_models.glob("*.onnx")):
        try:
            load(path)
        except OnnxPathError:
            pass
    assert capfd.readouterr() == ("", "")


def test_importing_the_package_does_not_import_onnx() -> None:
    code = "import sys, onnxpath.importer; print([m for m in ('onnx', 'onnx_graphsurgeon', 'onnxruntime', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=Path(__file__).resolve().parents[2]).strip() == "[]"


# --- versions, structure ----------------------------------------------------------------------------------------------


def test_versions() -> None:
    for field, value, words in (("ir_version", 99, "upgrade"), ("opset", 99, "upgrade"), ("opset", 5, "opset 5"), ("domain", "other", "opset")):
        proto = gemm()
        if field == "ir_version":
            proto.ir_version = value
        elif field == "opset":
            proto.opset_import[0].version = value
        else:
            proto.opset_import[0].domain = value
        refused(proto, words)
    proto = gemm()
    proto.opset_import[0].domain = "ai.onnx"
    proto.opset_import.append(helper.make_opsetid("never.used", 1))
    proto.graph.node[0].domain = "ai.onnx"
    assert len(load(proto).nodes) == 1
    proto = gemm()
    del proto.graph.output[:]
    refused(proto, "no outputs")
    refused(onnx.ModelProto(), "no graph")


def test_structure_errors_name_the_tensor() -> None:
    refused(chain(node("Relu", "x", "y"), node("Neg", "x", "y")), "'y'", "produced twice", "the_Relu", "the_Neg")
    refused(chain(node("Relu", "x", "x")), "'x'", "produced twice")
    refused(chain(node("Add", "x,nowhere", "y")), "'nowhere'", "the_Add")
    refused(chain(node("Relu", "x", "z")), "'y'", "output of the graph")
    refused(chain(node("Add", "x,b", "a"), node("Relu", "a", "b"), node("Neg", "b", "y")), "cycle", "the_Add", "the_Relu")
    twice = gemm()
    twice.graph.initializer.append(twice.graph.initializer[0])
    refused(twice, "two initializers", "'w'")


def test_operators_outside_are_refused_by_name() -> None:
    custom = helper.make_node("Quant", ["x"], ["y"], name="q", domain="finn.custom_op.general")
    refused(chain(custom), "'q'", "finn.custom_op.general:Quant", kind=UnsupportedError)
    refused(chain(node("Invented", "x", "y")), "the_Invented", kind=UnsupportedError)
    refused(chain(node("RandomNormal", "", "r", shape=[1, 8]), node("Add", "x,r", "y")), "RandomNormal", kind=UnsupportedError)
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "b", [], [info("b", None)])
    choice = node("If", "c", "y", then_branch=branch, else_branch=branch)
    refused(chain(choice, weights={"c": np.array(True)}), "the_If", kind=UnsupportedError)
    assert len(load(chain(choice, node("Relu", "x", "z"), outputs="y,z", weights={"c": np.array(True)}), output_names=["z"]).nodes) == 1


def test_attributes_are_checked() -> None:
    weights = {"w": np.ones((4, 3, 3, 3), np.float32)}
    for attributes, words in [
        ({"strides": [0, 0]}, "strides"), ({"dilations": [1, -1]}, "dilations"), ({"group": 0}, "group"), ({"strides": 2.5}, "strides"),
        ({"pads": [0, 0, 2**62, 2**62]}, "the_Conv"), ({"unheard_of": 1}, "unheard_of"), ({"kernel_shape": [9, 9]}, "the_Conv"),
    ]:  # fmt: skip
        refused(chain(node("Conv", "x,w", "y", **attributes), weights=weights, shape=(1, 3, 8, 8)), words)
    refused(chain(node("Conv", "x", "y")), "1 inputs")
    refused(chain(node("LeakyRelu", "x,x", "y")), "2 inputs")
    refused(chain(node("Transpose", "x", "y", perm=[0, 5])), "the_Transpose")


def test_local_functions_are_inlined() -> None:
    body = [helper.make_node("Relu", ["a"], ["m"]), helper.make_node("Neg", ["m"], ["b"])]
    function = helper.make_function("local", "Block", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    proto = chain(helper.make_node("Block", ["x"], ["y"], domain="local"))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    proto.functions.append(function)
    assert [item.op for item in load(proto).nodes] == ["Relu", "Scale"]


def test_sparse_initializers_are_refused_by_name() -> None:
    proto = chain(node("Gemm", "x,s", "y"))
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [3]), [8, 3]))
    refused(proto, "'s'", "sparse", kind=UnsupportedError)


# --- tensors ----------------------------------------------------------------------------------------------------------


def raw(dims: list[int], kind: int, data: bytes) -> TensorProto:
    return TensorProto(name="w", dims=dims, data_type=kind, raw_data=data)


def test_tensors_whose_data_does_not_fit_their_shape() -> None:
    refused(gemm(weight=raw([8, 3], TensorProto.FLOAT, bytes(95))), "'w'", "95 bytes", "96")
    refused(gemm(weight=raw([8, 300], TensorProto.FLOAT, bytes(4000))).SerializeToString(), "'w'", "4000 bytes", "9600")
    refused(gemm(weight=raw([-8, 3], TensorProto.FLOAT, bytes(96))), "[-8, 3]")
    refused(gemm(weight=raw([2**40, 2**20], TensorProto.FLOAT, b"")), "memory")
    refused(gemm(weight=TensorProto(name="w", dims=[8, 3], data_type=TensorProto.FLOAT, float_data=[1.0])), "1 values instead of 24")
    refused(gemm(weight=raw([8, 3], TensorProto.INT4, bytes(12))), "int4", kind=UnsupportedError)
    refused(gemm(weight=raw([8, 3], TensorProto.FLOAT8E4M3FN, bytes(24))), "float8", kind=UnsupportedError)
    refused(gemm(weight=raw([8, 3], TensorProto.COMPLEX64, bytes(192))), "complex64", kind=UnsupportedError)
    refused(gemm(weight=raw([8, 3], 77, bytes(24))), "77")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_weights_have_to_be_finite(bad: float, kind: type) -> None:
    value = np.full((8, 3), 3, kind)
    value[5, 1] = bad
    refused(gemm(weight=numpy_helper.from_array(value, "w")), "'w'", "'fc'", "NaN or infinite")


def test_large_finite_weights_are_not_taken_for_infinite() -> None:
    value = np.full((8, 3), 3e38, np.float32)
    assert load(gemm(weight=numpy_helper.from_array(value, "w"))).nodes[0].weight.base.max() == np.float32(3e38)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_typed_fields_are_read(kind: type) -> None:
    flat = W.astype(kind).reshape(-1)
    typed = helper.make_tensor("w", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [8, 3], flat)
    assert not typed.raw_data
    np.testing.assert_array_equal(load(gemm(weight=typed)).nodes[0].weight.array(), W)


def test_a_huge_constant_costs_no_memory() -> None:
    fill = numpy_helper.from_array(np.array([0.5], np.float32))
    shape = np.array([1 << 20, 1 << 10])
    proto = chain(node("ConstantOfShape", "s", "w", value=fill), node("MatMul", "x,w", "y"), shape=(1, 1 << 20), weights={"s": shape})
    weight = load(proto).nodes[0].weight
    assert weight.shape == (1 << 20, 1 << 10) and weight.base.strides == (0, 0)
    refused(chain(node("ConstantOfShape", "s", "w", value=fill), node("Add", "x,w", "y"), weights={"s": np.array([2**40, 2**20])}), "memory")
    tile = [node("ConstantOfShape", "s", "w", value=fill), node("Tile", "w,r", "t"), node("MatMul", "x,t", "y")]
    refused(chain(*tile, weights={"s": np.array([8, 3]), "r": np.array([2**30, 2**30])}), "the_Tile")


# --- external data ----------------------------------------------------------------------------------------------------


def external(folder: Path, location: str = "weights.bin", offset: int | str = 0, length: int | str | None = None, write: bool = True) -> Path:
    proto = gemm()
    tensor = proto.graph.initializer[0]
    if write:
        (folder / "weights.bin").write_bytes(bytes(16) + tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": str(offset)} | ({} if length is None else {"length": str(length)})
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_is_found_next_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    path = external(folder, offset=16, length=96)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_array_equal(load(path).nodes[0].weight.array(), W)
    np.testing.assert_array_equal(load(Path("../models/model.onnx")).nodes[0].weight.array(), W)
    monkeypatch.chdir(folder)
    np.testing.assert_array_equal(load("model.onnx").nodes[0].weight.array(), W)
    refused(path.read_bytes(), "give the path")
    refused(onnx.load(path, load_external_data=False), "give the path")


def test_external_data_never_leaves_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(112))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    (folder / "up").symlink_to(tmp_path)
    for location in ("../weights.bin", str(tmp_path / "weights.bin"), "link.bin", "up/weights.bin", "a/../../weights.bin", "..\\weights.bin", "C:\\w.bin"):
        refused(external(folder, location), "'w'", "outside of the folder")
    for location in ("", "a\0b"):
        refused(external(folder, location), "'w'")
    refused(external(folder, "."), "'w'")
    (folder / "inside.bin").symlink_to(folder / "weights.bin")
    assert load(external(folder, "inside.bin", offset=16)).nodes


def test_external_data_that_does_not_fit(tmp_path: Path) -> None:
    refused(external(tmp_path, "missing.bin"), "'w'", "missing.bin", "does not exist")
    refused(external(tmp_path, offset=17), "17 to 113", "112 bytes")
    refused(external(tmp_path, offset=10**15), "112 bytes")
    refused(external(tmp_path, offset=16, length=95), "96 bytes", "length 95")
    refused(external(tmp_path, offset=-1), "offset '-1'")
    refused(external(tmp_path, offset="ten"), "offset 'ten'")


def test_sparse_file_beyond_two_gigabytes(tmp_path: Path) -> None:
    path = external(tmp_path, offset=3 << 30, length=96, write=False)
    with (tmp_path / "weights.bin").open("wb") as file:
        file.seek(3 << 30)
        file.write(W.tobytes())
    np.testing.assert_array_equal(load(path).nodes[0].weight.array(), W)


# --- inputs -----------------------------------------------------------------------------------------------------------


def relu(shape: object, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    proto = chain(node("Relu", "x", "y"))
    proto.graph.input[0].CopyFrom(info("x", shape, kind))
    return proto


@pytest.mark.parametrize(
    ("declared", "given", "expected"),
    [
        ((1, 3, 8, 8), None, (1, 3, 8, 8)),
        (("N", 3, 8, 8), None, (1, 3, 8, 8)),
        ((None, 3), None, (1, 3)),
        (("N", "N", 3), None, (1, 1, 3)),
        ((2, "batch_size", 3), None, (2, 1, 3)),
        (("N", 3, "H", "W"), (1, 3, 4, 6), (1, 3, 4, 6)),
        (("N", 3, "H", "W"), (5, 3, 4, 6), (5, 3, 4, 6)),
        (None, (1, 7), (1, 7)),
        ((0, 3), None, (1, 3)),
    ],
)
def test_input_shapes(declared: object, given: tuple | None, expected: tuple) -> None:
    network = load(relu(declared), shapes=None if given is None else {"x": given})
    assert network.shapes["x"] == expected


@pytest.mark.parametrize(
    ("declared", "given", "words"),
    [
        (("N", 3, "H", "W"), None, ["'x'", "axes 2, 3", "--shape x=1x3xNxN"]),
        ((1, None), None, ["'x'", "axis 1", "--shape x="]),
        (None, None, ["'x'", "--shape x="]),
        ((1, 3), {"x": (1, 4)}, ["1x3", "1x4"]),
        ((8, 3), {"x": (1, 3)}, ["8x3", "1x3"]),
        ((1, 3), {"x": (1, 3, 1)}, ["1x3x1"]),
        (("N", "H"), {"x": (1, 0)}, ["positive"]),
        (("N", "H"), {"z": (1, 2)}, ["'z'", "x"]),
    ],
)
def test_shapes_that_are_missing_or_do_not_fit(declared: object, given: dict | None, words: list[str]) -> None:
    refused(relu(declared), *words, kind=UsageError, shapes=given)


def test_a_name_given_a_size_has_it_everywhere() -> None:
    proto = chain(node("Add", "x,z", "y"))
    del proto.graph.input[:]
    proto.graph.input.extend([info("x", ["N", "H"]), info("z", ["N", "H"])])
    network = load(proto, shapes={"x": (1, 5)})
    assert network.inputs == ("x", "z") and network.shapes["z"] == (1, 5)


def test_input_types_and_sizes() -> None:
    for kind in (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16):
        assert load(relu([1, 3], kind)).nodes
    refused(relu([1, 3], TensorProto.INT64), "'x'", "int64", kind=UnsupportedError)
    refused(relu([1, 3], TensorProto.STRING), "'x'", "string", kind=UnsupportedError)
    refused(relu([1, 2**50]), "memory")
    image = chain(node("Cast", "x", "f", to=1), node("Relu", "f", "y"))
    image.graph.input[0].CopyFrom(info("x", [1, 3], TensorProto.UINT8))
    assert [item.op for item in load(image).nodes] == ["Relu"]


def test_notes_tell_what_was_decided() -> None:
    network = load(relu([8, 3]))
    assert network.batched and any("fixed batch of 8" in note for note in network.notes)
    two = chain(node("Relu", "x", "y"), node("Identity", "c", "z"), outputs="y,z", weights={"c": W})
    network = load(two)
    assert network.output_names == ("y",) and any("'z' does not depend on any input" in note for note in network.notes)
    refused(chain(node("Identity", "c", "y"), weights={"c": W}), "no output depends on an input")
    refused(two, "'missing'", "y, z", kind=UsageError, output_names=["missing"])


def test_shapes_of_activations_are_known() -> None:
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s,first", "n"), node("Unsqueeze", "n,zero", "u"), node("Concat", "u,rest", "shape", axis=0),
        node("Reshape", "x,shape", "y"),
    ]  # fmt: skip
    network = load(chain(*nodes, shape=("N", 2, 4), weights={"first": np.array(0), "zero": np.array([0]), "rest": np.array([-1])}))
    assert [item.op for item in network.nodes] == ["Reshape"] and network.shapes[network.outputs[0]] == (1, 8)


def test_sizes_are_said_in_units() -> None:
    assert human(12) == "12 bytes" and human(3_200_000_000) == "3.2 GB" and available_bytes() > 1 << 20
