"""Shared by all tests: the folder of real models written by other people, and the option `--thorough`."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _folder() -> Path:
    return Path(os.environ.get("ONNXPATH_REAL_MODELS") or ROOT.parent / "shared" / "models_real").resolve()


@pytest.fixture(scope="session")
def real_models() -> Path:
    """The folder of real ONNX files. Its absence fails in CI and skips elsewhere."""
    folder = _folder()
    if not folder.is_dir():
        message = f"no real models in {folder}: set ONNXPATH_REAL_MODELS to their folder"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="also run the tests marked thorough, which take minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "thorough: takes minutes; runs with --thorough only")


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
