"""Fixtures of the command line's tests: the program run in this process, and the folder of models."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_support import Outcome

from onnxpath.cli.main import run


@pytest.fixture(scope="session")
def models() -> Path:
    return Path(__file__).resolve().parents[2] / "models"


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
