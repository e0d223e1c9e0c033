"""Reading files: what is broken is refused in one line that says what and where; what is odd but sound is
read."""

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from building import gemm, refused
from onnx import numpy_helper

from onnxpath.errors import OnnxPathError, UsageError
from onnxpath.importer import load
from onnxpath.importer.decode import wire


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


def test_an_unreadable_file(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(gemm().SerializeToString())
    forbid(path)
    refused(path, "cannot be read: Permission denied")


def test_all_sources_give_the_same_network(tmp_path: Path) -> None:
    proto = gemm(
        weight=numpy_helper.from_array(
            np.random.default_rng(0).standard_normal((8, 300)).astype(np.float32), "w"
        )
    )
    data = proto.SerializeToString(deterministic=True)
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    networks = [load(path), load(str(path)), load(data), load(proto)]
    assert {network.sha256 for network in networks} == {hashlib.sha256(data).hexdigest()}
    for network in networks:
        weight = network.nodes[0].weight
        np.testing.assert_array_equal(weight.array(), numpy_helper.to_array(proto.graph.initializer[0]))
        assert (
            weight.base.flags.aligned and not weight.base.flags.writeable and weight.base.dtype == np.float32
        )
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"open({str(tmp_path / 'pipe')!r}, 'wb').write(open({str(path)!r}, 'rb').read())",
        ]
    )
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
        with contextlib.suppress(OnnxPathError):
            load(path)
    assert capfd.readouterr() == ("", "")
