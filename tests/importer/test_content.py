"""`Network.content`: a digest of everything that is read; and what external data may be."""

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from building import chain, node

from onnxpath.errors import ModelError
from onnxpath.importer import load

CASES = Path(__file__).resolve().parents[1] / "data" / "cases" / "attack"


@pytest.fixture
def spread(tmp_path: Path) -> Path:
    """y = x w, and v that nothing needs; both outside."""
    made = chain(
        node("MatMul", "x,w", "y"), weights={"w": np.ones((8, 3), np.float32), "v": np.ones(4, np.float32)}
    )
    onnx.save(
        made, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return tmp_path / "model.onnx"


def test_without_external_data_it_is_the_digest_of_the_file() -> None:
    network = load(chain(node("Relu", "x", "y")).SerializeToString())
    assert network.content == network.sha256


def test_every_byte_that_a_tensor_names_counts(spread: Path) -> None:
    data = spread.parent / "weights.bin"
    before, original = load(spread), data.read_bytes()
    assert before.content != before.sha256 and load(spread).content == before.content
    used = [
        (int(e["offset"]), int(e["length"]))
        for t in onnx.load(spread, load_external_data=False).graph.initializer
        for e in [{entry.key: entry.value for entry in t.external_data}]
    ]
    for start, length in used:
        for at in (start, start + length - 1):
            changed = bytearray(original)
            changed[at] ^= 1
            data.write_bytes(changed)
            after = load(spread)
            assert after.sha256 == before.sha256 and after.content != before.content
    data.write_bytes(original + b"more, which no tensor names")
    assert load(spread).content == before.content


@pytest.mark.parametrize("offset", ["0", "-5", "many", "99999999999999999"])
def test_a_tensor_that_cannot_be_read_hides_no_other(offset: str, spread: Path) -> None:
    """v claims far more than there is; it is not needed, w is."""
    made = onnx.load(spread, load_external_data=False)
    made.graph.initializer[1].dims[0] = 1 << 40
    del made.graph.initializer[1].external_data[:]
    for key, value in (("location", "weights.bin"), ("offset", offset)):
        made.graph.initializer[1].external_data.add(key=key, value=value)
    onnx.save(made, spread)
    before, data = load(spread).content, spread.parent / "weights.bin"
    changed = bytearray(data.read_bytes())
    changed[3] ^= 1
    data.write_bytes(changed)
    assert load(spread).content != before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a link", "device", "folder"])
def test_pipes_and_devices_are_no_data(kind: str, tmp_path: Path) -> None:
    shutil.copy(CASES / "ext9.onnx", tmp_path)
    fifo = tmp_path / "fifo"
    if kind == "pipe":
        os.mkfifo(fifo)
    elif kind == "device":
        fifo.symlink_to("/dev/zero")
    elif kind == "folder":
        fifo.mkdir()
    else:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to("pipe")
        fifo.symlink_to("pipe" if kind == "link to a pipe" else "link")
    with pytest.raises(ModelError, match="outside" if kind == "device" else "not a regular file"):
        load(tmp_path / "ext9.onnx")
