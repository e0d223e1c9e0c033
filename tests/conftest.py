"""Shared by all tests: the folders of models and figures of other people, permissions taken away, and the
option `--thorough`."""

import builtins
import errno
import os
from collections.abc import Callable
from pathlib import Path

import examples
import pytest

ROOT = Path(__file__).resolve().parents[1]


def _folder(variable: str, default: str, files: str, what: str) -> Path:
    """A folder outside of the repository. Where it has none of the files, tests fail in CI and are skipped
    elsewhere."""
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / default).resolve()
    if not any(folder.glob(files)):
        message = f"no {what} in {folder}: set {variable} to their folder"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def real_models() -> Path:
    """The folder of ONNX files that other people wrote."""
    return _folder("ONNXPATH_REAL_MODELS", "models_real", "*.onnx", "real models")


@pytest.fixture(scope="session")
def reference_figures() -> Path:
    """The folder of the published figures: models.py, pathnorm_pytorch.json."""
    return _folder("ONNXPATH_REFERENCE", "reference", "pathnorm_pytorch.json", "reference figures")


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Take away the permission to open a file, or to write into a folder: from everybody, while real ones do
    not bind a superuser."""
    closed: set[str] = set()
    access, open_file = os.access, builtins.open

    def guarded(path: object, *arguments: object, **options: object) -> object:
        if isinstance(path, str | os.PathLike) and os.fspath(path) in closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return open_file(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", guarded)
    monkeypatch.setattr(os, "access", lambda path, mode: os.fspath(path) not in closed and access(path, mode))
    return lambda path: closed.add(str(path))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough", action="store_true", help="also run the tests marked thorough, which take minutes"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "thorough: takes minutes; runs with --thorough only")
    if config.getoption("--thorough"):
        examples.factor = examples.MORE


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--thorough"):
        return
    left_out = [item for item in items if item.get_closest_marker("thorough")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether tests may take minutes."""
    return request.config.getoption("--thorough")
