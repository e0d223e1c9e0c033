"""Fixtures shared by all tests: the folder of real models written by other people."""

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
