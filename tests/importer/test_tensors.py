"""Weights inside the file and beside it: lengths, types, finiteness, and no reading outside of the model's
folder."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from building import W, chain, gemm, node, refused
from onnx import TensorProto, helper, numpy_helper

from onnxpath.errors import UnsupportedError
from onnxpath.importer import load


def raw(dims: list[int], kind: int, data: bytes) -> TensorProto:
    return TensorProto(name="w", dims=dims, data_type=kind, raw_data=data)


def test_tensors_whose_data_does_not_fit_their_shape() -> None:
    refused(gemm(weight=raw([8, 3], TensorProto.FLOAT, bytes(95))), "'w'", "95 bytes", "96")
    refused(
        gemm(weight=raw([8, 300], TensorProto.FLOAT, bytes(4000))).SerializeToString(),
        "'w'",
        "4000 bytes",
        "9600",
    )
    refused(gemm(weight=raw([-8, 3], TensorProto.FLOAT, bytes(96))), "[-8, 3]")
    refused(gemm(weight=raw([2**40, 2**20], TensorProto.FLOAT, b"")), "memory")
    refused(
        gemm(weight=TensorProto(name="w", dims=[8, 3], data_type=TensorProto.FLOAT, float_data=[1.0])),
        "1 values instead of 24",
    )
    refused(gemm(weight=raw([8, 3], TensorProto.INT4, bytes(12))), "int4", "Gemm")
    refused(gemm(weight=raw([8, 3], TensorProto.INT4, bytes(11))), "11 bytes instead of 12")
    refused(
        gemm(weight=TensorProto(name="w", dims=[8, 3], data_type=TensorProto.INT8, int32_data=[300] * 24)),
        "300",
        "out of range",
        "int8",
    )
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
    assert load(gemm(weight=numpy_helper.from_array(value, "w"))).nodes[0].weight.base.max() == np.float32(
        3e38
    )


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_typed_fields_are_read(kind: type) -> None:
    flat = W.astype(kind).reshape(-1)
    typed = helper.make_tensor("w", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [8, 3], flat)
    assert not typed.raw_data
    np.testing.assert_array_equal(load(gemm(weight=typed)).nodes[0].weight.array(), W)


def test_a_huge_constant_costs_no_memory() -> None:
    fill = numpy_helper.from_array(np.array([0.5], np.float32))
    shape = np.array([1 << 20, 1 << 10])
    proto = chain(
        node("ConstantOfShape", "s", "w", value=fill),
        node("MatMul", "x,w", "y"),
        shape=(1, 1 << 20),
        weights={"s": shape},
    )
    weight = load(proto).nodes[0].weight
    assert weight.shape == (1 << 20, 1 << 10) and weight.base.strides == (0, 0)
    refused(
        chain(
            node("ConstantOfShape", "s", "w", value=fill),
            node("Add", "x,w", "y"),
            weights={"s": np.array([2**40, 2**20])},
        ),
        "memory",
    )
    tile = [
        node("ConstantOfShape", "s", "w", value=fill),
        node("Tile", "w,r", "t"),
        node("MatMul", "x,t", "y"),
    ]
    refused(chain(*tile, weights={"s": np.array([8, 3]), "r": np.array([2**30, 2**30])}), "the_Tile")


def external(
    folder: Path,
    location: str = "weights.bin",
    offset: int | str = 0,
    length: int | str | None = None,
    write: bool = True,
) -> Path:
    proto = gemm()
    tensor = proto.graph.initializer[0]
    if write:
        (folder / "weights.bin").write_bytes(bytes(16) + tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": str(offset)} | (
        {} if length is None else {"length": str(length)}
    )
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
    for location in (
        "../weights.bin",
        str(tmp_path / "weights.bin"),
        "link.bin",
        "up/weights.bin",
        "a/../../weights.bin",
        "..\\weights.bin",
        "C:\\w.bin",
    ):
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
