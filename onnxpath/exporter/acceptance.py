"""Whether a new file is one: it passes onnx.checker and loads in ONNX Runtime.

What the source itself does not pass is not asked of the copy; the result says so.
"""

import os

import onnx
import onnxruntime

from onnxpath.errors import ModelError


def accepted(staged: str, source: "str | os.PathLike[str] | bytes", path: str) -> tuple[str, ...]:
    """Notes on what neither the file nor its source passes; ModelError for what the source alone passes."""
    notes = []
    for what, check in (("onnx.checker", _check), ("ONNX Runtime", _load)):
        why = check(staged)
        if why is None:
            continue
        if check(source) != why:
            raise ModelError(
                f"{path}: the changed model is not written, because {what} does not accept it: {why}"
            )
        notes.append(f"{what} accepts neither this file nor the original: {why}")
    return tuple(notes)


def _line(error: Exception) -> str:
    """The first line, without the name of the file that ONNX Runtime puts into it."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.partition(" failed:")[2].strip() or line


def _check(model: "str | os.PathLike[str] | bytes") -> str | None:
    """Why onnx.checker refuses a model, or None."""
    try:
        onnx.checker.check_model(os.fsdecode(model) if isinstance(model, str | os.PathLike) else model)
    except Exception as error:
        return _line(error)
    return None


def _load(model: "str | os.PathLike[str] | bytes") -> str | None:
    """Why ONNX Runtime cannot load a model, or None."""
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        given = os.fsdecode(model) if isinstance(model, str | os.PathLike) else model
        onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        return _line(error)
    return None
