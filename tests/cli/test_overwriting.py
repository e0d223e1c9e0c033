"""No command writes over a file that is not a result of its own kind, unless it is told to."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

CASES = Path(__file__).resolve().parents[1] / "data" / "cases" / "attack"

WRITERS = {
    "json": ("norm", "a.onnx", "--output", "json=OUT"),
    "markdown": ("norm", "a.onnx", "--output", "markdown=OUT"),
    "junit": ("check", "a.onnx", "half.onnx", "--max-relative", "1", "--output", "junit=OUT"),
    "baseline": (
        "check",
        "a.onnx",
        "half.onnx",
        "--max-relative",
        "1",
        "--baseline",
        "OUT",
        "--update-baseline",
    ),
    "journal": (
        "certify",
        "a.onnx",
        "half.onnx",
        "--inputs",
        "x.npz",
        "--epsilon",
        "0.01",
        "--effort",
        "0",
        "--resume",
        "OUT",
    ),
    "npz": (
        "certify",
        "a.onnx",
        "half.onnx",
        "--inputs",
        "x.npz",
        "--epsilon",
        "0.01",
        "--effort",
        "0",
        "--counterexamples",
        "OUT",
    ),
    "costs": ("prune", "a.onnx", "--costs", "OUT"),
    "figure": ("prune", "a.onnx", "--report", "OUT.svg"),
    "rescale": ("rescale", "a.onnx", "-o", "OUT"),
    "prune": ("prune", "a.onnx", "--sparsity", "0.5", "-o", "OUT"),
    "quantize": ("quantize", "a.onnx", "-o", "OUT"),
}
MODELS = ("rescale", "prune", "quantize")
SAME = ({"npz", "costs"}, set(MODELS))


def others(folder: Path) -> dict[str, bytes]:
    """Files that are results of nothing here."""
    np.savez(folder / "plain.npz", x=np.zeros(3))
    files = {
        "text": b"notes\nof a person\n", "a line without an end": b"notes",
        "json": b'{"schema": "another.thing/1"}', "broken json": b'{"schema": "onnxpath.norm/1"',
        "xml": b"<?xml version='1.0'?><testsuites/>", "arrays": (folder / "plain.npz").read_bytes(),
        "zeros": b"\0" * 100,
    }  # fmt: skip
    (folder / "plain.npz").unlink()
    return files


@pytest.fixture
def folder(small_pairs: Path) -> Path:
    np.savez(small_pairs / "x.npz", x=np.eye(2, dtype=np.float32))
    return small_pairs


def target(kind: str) -> str:
    return "OUT.svg" if kind == "figure" else "OUT"


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_not_of_the_kind_stays(kind: str, folder: Path, refused, program) -> None:
    call, out = WRITERS[kind], folder / target(kind)
    foreign = others(folder)
    if kind not in MODELS:
        foreign["a model"] = (folder / "a.onnx").read_bytes()
    for what, data in foreign.items():
        out.write_bytes(data)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        line = refused(*call)
        assert out.name in line and "--force" in line, what
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, what
    assert program(*call, "--force").code == 0 and out.read_bytes() != data
    first = out.read_bytes()
    assert program(*call).code == 0  # of its own kind now
    assert out.read_bytes() == first
    out.write_bytes(b"")  # holds nothing
    assert program(*call).code == 0 and out.read_bytes() == first


@pytest.mark.parametrize("kind", WRITERS)
def test_results_of_one_kind_are_not_replaced_by_another(kind: str, folder: Path, program) -> None:
    assert program(*WRITERS[kind]).code == 0
    made = (folder / target(kind)).read_bytes()
    for other, call in WRITERS.items():
        if other == kind or {other, kind} <= SAME[0] or {other, kind} <= SAME[1]:
            continue
        out = folder / target(other)
        out.write_bytes(made)
        assert program(*call).code == 2, (kind, other)
        assert out.read_bytes() == made


def test_the_certificate_beside_a_model(folder: Path, refused, program) -> None:
    beside = folder / "new.certificate.json"
    beside.write_text('{"a certificate": "of somebody"}')
    for command in (("prune", "a.onnx", "--sparsity", "0.5"), ("quantize", "a.onnx")):
        assert "new.certificate.json" in refused(*command, "-o", "new.onnx")
        assert not (folder / "new.onnx").exists()
    for command in (("prune", "a.onnx", "--sparsity", "0.5"), ("quantize", "a.onnx")):
        assert program(*command, "-o", "new.onnx", "--force").code == 0
        assert program(*command, "-o", "new.onnx").code == 0
    assert json.loads(beside.read_text())["schema"].startswith("onnxpath.")


def test_a_model_with_data_of_somebody_else_beside_it(folder: Path, program) -> None:
    for name in ("Am.onnx", "Am.data"):
        shutil.copy(CASES / name, folder)
    (folder / "out.onnx.data").write_bytes(b"precious")
    for _ in range(2):
        assert program("rescale", "Am.onnx", "-o", "out.onnx").code == 0
        assert (folder / "out.onnx.data").read_bytes() == b"precious"
    assert {path.name for path in folder.glob("out.onnx*")} <= {
        "out.onnx",
        "out.onnx.data",
        "out.onnx.2.data",
        "out.onnx.3.data",
    }


def test_pipes_and_devices_are_written_to(folder: Path, program) -> None:
    assert program("norm", "a.onnx", "--output", "json=/dev/null").code == 0
