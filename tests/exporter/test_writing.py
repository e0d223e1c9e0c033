"""`write`: the chosen tensors have the chosen values, in the type and the field they had; everything else is
as it was; the file appears whole or not at all."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from spellings import SPELLINGS, W, model, node, normal

from onnxpath.errors import ModelError, OnnxPathError, UsageError
from onnxpath.exporter import check_target, locate, write
from onnxpath.exporter.storing import stored
from onnxpath.importer import load
from onnxpath.importer.decode import wire


def canonical(proto: onnx.ModelProto) -> bytes:
    return proto.SerializeToString(deterministic=True)


def large() -> onnx.ModelProto:
    """Raw data beyond the size that is parsed, and below it."""
    return model(
        [node("MatMul", "x,w", "h"), node("Add", "h,b", "y")], {"w": normal(40, 30), "b": normal(30)}, (1, 40)
    )


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_changed_tensor_is_the_only_difference(name: str, tmp_path: Path) -> None:
    make, tensor = SPELLINGS[name]
    proto = make()
    before = canonical(proto)
    network = load(proto)
    array = network.origin.tensors[tensor].copy()
    kind = next((t.data_type for t in proto.graph.initializer if t.name == tensor), TensorProto.FLOAT)
    changed = array * 2 if array.dtype == np.float64 else np.asarray(array * 2, np.float32)
    changed = np.asarray(changed)
    changed.reshape(-1)[0] = 0
    for source in (proto, proto.SerializeToString()):
        written = write(source, {tensor: changed}, tmp_path / "out.onnx")
        assert canonical(proto) == before
        after = load(tmp_path / "out.onnx")
        assert written.sha256 == after.sha256
        np.testing.assert_array_equal(after.origin.tensors[tensor], changed)
        held = onnx.load(tmp_path / "out.onnx")
        assert (
            next((t.data_type for t in held.graph.initializer if t.name == tensor), TensorProto.FLOAT) == kind
        )
        restored = write(tmp_path / "out.onnx", {tensor: array}, tmp_path / "back.onnx")
        assert restored.notes == ()
        back = onnx.load(tmp_path / "back.onnx")
        if name != "ConstantOfShape":
            assert canonical(back) == canonical(onnx.load_from_string(proto.SerializeToString()))
    (parameter,) = [p for n in after.nodes for p in n.parameters() if tensor in p.sources][:1]
    np.testing.assert_array_equal(locate(after, parameter).view(np.array(changed, order="C")), parameter.base)


def test_large_weights_are_spliced_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(large().SerializeToString())
    for source in (path, path.read_bytes(), onnx.load(path)):
        write(source, {}, tmp_path / "same.onnx", {"about": "this"})
        written = onnx.load(tmp_path / "same.onnx")
        assert [(e.key, e.value) for e in written.metadata_props] == [
            ("author", "somebody"),
            ("about", "this"),
        ]
        del written.metadata_props[-1]
        assert canonical(written) == canonical(onnx.load(path))
    new = normal(40, 30)
    write(path, {"w": new}, tmp_path / "new.onnx", {"author": "another"})
    written = onnx.load(tmp_path / "new.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(written.graph.initializer[0]), new)
    assert [(e.key, e.value) for e in written.metadata_props] == [("author", "another")]
    assert written.doc_string == "about" and written.graph.doc_string == "about the graph"


def test_fields_that_this_onnx_does_not_know_are_kept(tmp_path: Path) -> None:
    strange = bytes([0xFA, 0x7D, 3]) + b"new"  # field 2015, three bytes
    data = large().SerializeToString() + strange
    write(data, {"w": normal(40, 30)}, tmp_path / "out.onnx")
    assert strange in (tmp_path / "out.onnx").read_bytes()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4000), min_size=1, max_size=6), st.text(max_size=20))
def test_splicing_undoes_stripping(sizes: list[int], doc: str) -> None:
    made = model(
        [node("Relu", "x", "y")], {f"w{k}": np.arange(n, dtype=np.float32) for k, n in enumerate(sizes)}
    )
    made.graph.doc_string = doc
    data = made.SerializeToString()
    stripped, spans = wire.strip(data, len(data))
    pieces = wire.spliced(stripped, {k: length for k, (_, length) in spans.items()})
    whole = b"".join(p if isinstance(p, bytes) else data[spans[p][0] : sum(spans[p])] for p in pieces)
    assert canonical(onnx.load_from_string(whole)) == canonical(made)


def external(folder: Path, name: str = "model.onnx", location: str = "weights.bin") -> Path:
    """w and b outside, one after the other; a Constant's value too."""
    made = model(
        [node("MatMul", "x,w", "h"), node("Add", "h,b", "i"),
        node("Constant", "", "c", value=numpy_helper.from_array(normal(1, 30))), node("Add", "i,c", "y")],
        {"w": normal(40, 30), "b": normal(30)}, (1, 40),
    )  # fmt: skip
    onnx.save(
        made,
        folder / name,
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        convert_attribute=True,
    )
    return folder / name


def values(path: Path) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in load(path).origin.tensors.items()}


def test_external_data_stays_external(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    path = external(tmp_path / "a")
    before, bytes_before = values(path), (path.read_bytes(), (path.parent / "weights.bin").read_bytes())
    new = normal(40, 30)
    for out in (tmp_path / "b" / "out.onnx", tmp_path / "a" / "out.onnx"):
        write(path, {"w": new}, out)
        assert out.stat().st_size < 2000 and (out.parent / "out.onnx.data").stat().st_size > 4800
        after = values(out)
        np.testing.assert_array_equal(after["w"], new)
        for name in ("b", "c"):
            np.testing.assert_array_equal(after[name], before[name])
        onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert (path.read_bytes(), (path.parent / "weights.bin").read_bytes()) == bytes_before
    assert sorted(os.listdir(tmp_path / "b")) == ["out.onnx", "out.onnx.data"]


def test_external_data_of_a_file_that_is_replaced(tmp_path: Path) -> None:
    path = external(tmp_path, location="model.onnx.data")
    before, new = values(path), normal(40, 30)
    write(path, {"w": new}, path, force=True)
    after = values(path)
    np.testing.assert_array_equal(after["w"], new)
    np.testing.assert_array_equal(after["b"], before["b"])
    with pytest.raises(UsageError, match="holds data of the model"):
        write(external(tmp_path, "other.onnx"), {}, tmp_path / "weights.bin")
    with pytest.raises(ModelError, match="give the path"):
        write(path.read_bytes(), {}, tmp_path / "out.onnx")


def test_external_data_beyond_two_gigabytes(tmp_path: Path) -> None:
    """Only what the tensors refer to is copied, and it never goes through protobuf."""
    made = model([node("MatMul", "x,w", "y")], {"w": W})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", str(3 << 30)), ("length", str(W.nbytes))):
        tensor.external_data.add(key=key, value=value)
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    with (tmp_path / "weights.bin").open("wb") as file:
        file.seek(3 << 30)
        file.write(W.tobytes())
    write(path, {"w": 2 * W}, tmp_path / "out.onnx")
    np.testing.assert_array_equal(load(tmp_path / "out.onnx").origin.tensors["w"], 2 * W)
    assert (tmp_path / "out.onnx.data").stat().st_size == W.nbytes
    (tmp_path / "copies").mkdir()
    write(path, {}, tmp_path / "copies" / "out.onnx")
    np.testing.assert_array_equal(load(tmp_path / "copies" / "out.onnx").origin.tensors["w"], W)


def test_real_files_are_copied_without_a_change(real_models: Path, tmp_path: Path) -> None:
    copied = 0
    for path in sorted(real_models.glob("*.onnx")):
        try:
            load(path)
        except OnnxPathError:
            continue
        written = write(path, {}, tmp_path / "out.onnx")
        assert canonical(onnx.load(path)) == canonical(onnx.load(tmp_path / "out.onnx"))
        assert bool(written.notes) == (path.name == "drones_ac4_double.onnx")
        copied += 1
    assert copied >= 14


def test_values_that_a_type_cannot_hold(tmp_path: Path) -> None:
    make, _ = SPELLINGS["float16"]
    with pytest.raises(UsageError, match="'w' is float16, which holds numbers up to 65504, but 70000"):
        write(make(), {"w": np.full((4, 3), 70000.0)}, tmp_path / "out.onnx")
    with pytest.raises(UsageError, match="'w' is bfloat16.*but 3.4e\\+38"):
        write(SPELLINGS["bfloat16"][0](), {"w": np.full((4, 3), 3.4e38)}, tmp_path / "out.onnx")
    with pytest.raises(UsageError, match="'w' is float"):
        write(SPELLINGS["MatMul"][0](), {"w": np.full((4, 3), 1e300)}, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


@settings(max_examples=200, deadline=None)
@given(st.floats(-(2.0**127), 2.0**127, width=32))
def test_bfloat16_is_rounded_to_the_nearest(value: float) -> None:
    found = (
        stored("", "", np.array([value], np.float32), TensorProto.BFLOAT16).astype(np.uint32) << 16
    ).view(np.float32)[0]
    exact = np.float32(value)
    bits = int(exact.view(np.uint32)) & 0xFFFF0000
    neighbours = (
        np.array([bits, min(bits + 0x10000, 0xFFFFFFFF)], np.uint32).view(np.float32).astype(np.float64)
    )
    neighbours = neighbours[np.isfinite(neighbours)]
    assert abs(float(found) - float(exact)) == np.abs(neighbours - float(exact)).min()


def test_edits_that_do_not_fit(tmp_path: Path) -> None:
    make, _ = SPELLINGS["MatMul"]
    for edits, words in (
        ({"w": W.T}, "shape"),
        ({"nothing": W}, "no initializer or Constant named 'nothing'"),
    ):
        with pytest.raises(UsageError, match=words):
            write(make(), edits, tmp_path / "out.onnx")
    with pytest.raises(OnnxPathError, match="int64"):
        write(SPELLINGS["Reshape of the weight"][0](), {"s": np.array([4.0, 3.0])}, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(large().SerializeToString())
    before = path.read_bytes()
    (tmp_path / "link.onnx").symlink_to(path)
    (tmp_path / "folder").mkdir()
    for out, words in (
        (path, "--force"), (tmp_path / "link.onnx", "--force"),
        (tmp_path / "folder" / ".." / "model.onnx", "--force"),
        (tmp_path / "missing" / "out.onnx", "no folder"), (tmp_path / "folder", "directory"), ("", "empty"),
        ("/dev/null", "regular file"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            write(path, {"w": normal(40, 30)}, out)
        with pytest.raises(UsageError, match=words):
            check_target(path, out)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["folder", "link.onnx", "model.onnx"]
    write(path, {"w": normal(40, 30)}, path, force=True)
    assert path.read_bytes() != before


def test_a_folder_without_permission(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    forbid(tmp_path)
    with pytest.raises(UsageError, match="permission"):
        write(large(), {}, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_a_model_that_no_longer_loads_is_not_written(tmp_path: Path) -> None:
    from onnxpath.exporter.writing import write_changed

    out = tmp_path / "out.onnx"
    out.write_bytes(b"what was here before")

    def breaks(document) -> None:
        document.model.graph.node[0].op_type = "Nonsense"

    with pytest.raises(ModelError, match=r"onnx\.checker does not accept"):
        write_changed(large(), breaks, out)

    def mistypes(document) -> None:
        document.model.graph.initializer[0].dims[0] = 41

    with pytest.raises(ModelError, match="does not accept"):
        write_changed(large(), mistypes, out)
    assert out.read_bytes() == b"what was here before" and os.listdir(tmp_path) == ["out.onnx"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own reaction to SIGINT, which a shell's background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_process_is_ended(kind: int, tmp_path: Path, interruptible: None) -> None:
    """A signal while the new file is being checked: the staged copy goes, what was there stays."""
    out = tmp_path / "out.onnx"
    out.write_bytes(b"what was here before")
    before, code = signal.getsignal(signal.SIGTERM), 128 + kind if kind == signal.SIGTERM else None

    def end(path: str) -> None:
        assert Path(path).exists()
        signal.raise_signal(kind)

    with pytest.raises((SystemExit, KeyboardInterrupt)) as caught:
        write(large(), {"w": normal(40, 30)}, out, verify=end)
    assert getattr(caught.value, "code", None) == code
    assert os.listdir(tmp_path) == ["out.onnx"] and out.read_bytes() == b"what was here before"
    assert signal.getsignal(signal.SIGTERM) == before
