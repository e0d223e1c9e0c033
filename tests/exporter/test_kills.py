"""A run that is killed at any step leaves the old file or the new one, and what it leaves beside them the
next run removes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from spellings import model, node, normal

import onnxpath
from onnxpath.files import writing
from onnxpath.importer import load

STEPS = ("replace", "unlink", "fsync", "mkdir", "chmod")


class KilledError(BaseException):
    """The process is gone: nothing is caught, nothing is cleaned up."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object], int], bool]:
    """Run something and end it before its k-th step that changes a folder; whether it got that far."""

    def call(run: Callable[[], object], step: int) -> bool:
        count = 0
        with monkeypatch.context() as patch:

            def stopped(original: Callable) -> Callable:
                def step_or_end(*arguments: object, **options: object) -> object:
                    nonlocal count
                    if count >= step:
                        raise KilledError
                    count += 1
                    return original(*arguments, **options)

                return step_or_end

            for name in STEPS:
                patch.setattr(os, name, stopped(getattr(os, name)))
            remove = shutil.rmtree
            patch.setattr(shutil, "rmtree", lambda *a, **k: None if count >= step else remove(*a, **k))
            try:
                run()
            except KilledError:
                return True
        return False

    return call


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of earlier runs are gone."""
    monkeypatch.setattr(writing, "_alive", lambda pid: False)


def external(path: Path, scale: float) -> Path:
    made = model(
        [node("MatMul", "x,w", "h"), node("Relu", "h", "r"), node("MatMul", "r,v", "y")],
        {"w": normal(8, 6) * scale, "v": normal(6, 3)},
        (1, 8),
    )
    onnx.save(made, path, save_as_external_data=True, location=f"{path.name}.weights", size_threshold=0)
    return path


def certificate(path: Path) -> bytes:
    """The certificate beside a model, empty where there is none."""
    beside = path.with_suffix(".certificate.json")
    return beside.read_bytes() if beside.exists() else b""


def function(path: Path) -> bytes:
    """What the network in a file computes, as far as the weights tell; an error where it names data that is
    not there."""
    return b"".join(
        np.ascontiguousarray(p.array()).tobytes() for n in load(path).nodes for p in n.parameters()
    )


COMMANDS = {
    "rescale": lambda source, out: onnxpath.rescale(source, out, powers_of_two=True, force=True),
    "prune": lambda source, out: onnxpath.prune(source, out, sparsity=0.5, force=True),
    "quantize": lambda source, out: onnxpath.quantize(source, out, force=True),
}


@pytest.mark.parametrize(
    ("command", "same"), [*((command, False) for command in COMMANDS), ("rescale", True)]
)
def test_the_target_is_old_or_new_at_every_step(
    command: str, same: bool, tmp_path: Path, killed, later
) -> None:
    run = COMMANDS[command]
    first = external(tmp_path / "first.onnx", 1.0)
    onnxpath.rescale(first, tmp_path / "start.onnx")
    (tmp_path / "new").mkdir()
    start = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    other = tmp_path / "start.onnx" if same else external(tmp_path / "second.onnx", 3.0)
    start |= {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    before = function(tmp_path / "start.onnx")
    run(other, tmp_path / "new" / "start.onnx")
    after = function(tmp_path / "new" / "start.onnx")
    claimed = certificate(tmp_path / "new" / "start.onnx")
    shutil.rmtree(tmp_path / "new")
    seen, extra = set(), set() if command == "rescale" else {"start.certificate.json"}
    for step in range(100):
        for path in tmp_path.iterdir():
            path.unlink() if path.is_file() else shutil.rmtree(path)
        for name, data in start.items():
            (tmp_path / name).write_bytes(data)
        ended = killed(lambda: run(other, tmp_path / "start.onnx"), step)
        found = function(tmp_path / "start.onnx")
        assert found in (before, after)
        seen.add(found)
        assert found == before or certificate(tmp_path / "start.onnx") == claimed
        if not ended:
            break
        run(other if not same else first, tmp_path / "start.onnx")  # finds what is left, and removes it
        named = {
            entry.value
            for tensor in onnx.load(tmp_path / "start.onnx", load_external_data=False).graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {name for name in start if not name.startswith("start.onnx.")} | named | extra
        function(tmp_path / "start.onnx")
    assert seen == {before, after}
    assert step > 8 and not ended


@pytest.mark.parametrize("command", ["prune", "quantize"])
@pytest.mark.parametrize("had", [True, False])
def test_the_next_run_puts_an_old_certificate_back(
    command: str, had: bool, tmp_path: Path, killed, later
) -> None:
    first, second = external(tmp_path / "first.onnx", 1.0), external(tmp_path / "second.onnx", 3.0)
    out, run = tmp_path / "out.onnx", COMMANDS[command]
    (run if had else COMMANDS["rescale"])(first, out)
    start = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    old, between = (function(out), certificate(out)), 0
    assert bool(old[1]) == had
    (tmp_path / "new").mkdir()
    run(second, tmp_path / "new" / "out.onnx")
    new = function(tmp_path / "new" / "out.onnx"), certificate(tmp_path / "new" / "out.onnx")
    shutil.rmtree(tmp_path / "new")
    for step in range(100):
        for path in tmp_path.iterdir():
            path.unlink() if path.is_file() else shutil.rmtree(path)
        for name, data in start.items():
            (tmp_path / name).write_bytes(data)
        ended = killed(lambda: run(second, out), step)
        between += (function(out), certificate(out)) == (old[0], new[1])
        onnxpath.rescale(first, tmp_path / "another.onnx")
        assert (function(out), certificate(out)) in (old, new)
        if not ended:
            break
    assert between > 0 and not ended


def test_data_that_others_name_is_left_alone(tmp_path: Path) -> None:
    first, second = external(tmp_path / "first.onnx", 1.0), external(tmp_path / "second.onnx", 3.0)
    out = tmp_path / "out.onnx"
    onnxpath.rescale(first, out)
    shutil.copy(out, tmp_path / "kept.onnx")  # names out.onnx.data as well
    kept = function(tmp_path / "kept.onnx")
    onnxpath.rescale(second, out)
    assert function(tmp_path / "kept.onnx") == kept
    (tmp_path / "kept.onnx").unlink()
    (tmp_path / "new.onnx.data").write_bytes(b"something else")
    onnxpath.rescale(second, tmp_path / "new.onnx")
    assert (tmp_path / "new.onnx.data").read_bytes() == b"something else" and (
        tmp_path / "new.onnx.2.data"
    ).exists()


def test_only_what_is_surely_left_over_is_removed(tmp_path: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    here = writing._place()
    names = {
        f".onnxpath-{here}-{gone}-0123abcd.part": False,
        f".onnxpath-{here}-{os.getpid()}-0123abcd.part": True,
        f".onnxpath-00000000-{gone}-0123abcd.part": True, ".onnxpath-notes": True,
        f"onnxpath-{here}-{gone}-0123abcd": True,
        f".onnxpath-{here}-{gone}-0123abcd": False,
    }  # fmt: skip
    for name in names:
        (
            (tmp_path / name).mkdir()
            if not name.endswith("t") and name.startswith(".onnxpath-" + here)
            else (tmp_path / name).write_bytes(b"x")
        )
    old = tmp_path / ".onnxpath-00000000-1-00000000.part"
    old.write_bytes(b"x")
    os.utime(old, (time.time() - 8 * 24 * 3600,) * 2)
    writing.write_file(str(tmp_path / "result.json"), "{}")
    assert {path.name for path in tmp_path.iterdir()} == {
        "result.json",
        *(name for name, stays in names.items() if stays),
    }
