"""Fixtures of the command line's tests: the program run in this process, and the folder of models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_support import Outcome, chain

from onnxpath.cli.main import run


@pytest.fixture(scope="session")
def models() -> Path:
    return Path(__file__).resolve().parents[2] / "models"


@pytest.fixture(autouse=True)
def outside_of_github(monkeypatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def program(capsys) -> Callable[..., Outcome]:
    """Run `onnxpath` with these arguments in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def small_pairs(tmp_path, monkeypatch) -> Path:
    """A folder with a.onnx, half.onnx (its last layer halved: path-metric 6, relative 1/2) and same.onnx
    (a.onnx rescaled); the current one."""
    first, last = np.array([[1, 2], [-1, 2]]), np.array([[1, -3]])
    chain(tmp_path / "a.onnx", [first, last])
    chain(tmp_path / "half.onnx", [first, last / 2])
    chain(tmp_path / "same.onnx", [first * 4, last / 4])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(program) -> Callable[..., str]:
    """Run `onnxpath`, which must exit 2 with one line on stderr and nothing on stdout; returns that line."""

    def call(*arguments: object) -> str:
        found = program(*arguments)
        assert found.code == 2, found
        assert found.out == ""
        assert found.err.startswith("onnxpath: ")
        assert found.err.endswith("\n") and found.err.count("\n") == 1, found.err
        return found.err[len("onnxpath: ") : -1]

    return call
