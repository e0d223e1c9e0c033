"""A GPU that is simulated: ONNX Runtime's CPU provider under the name of CUDA's, with the faults of a real
one.

What is simulated is what `onnxruntime` would do: `faults` makes libraries missing, kernels fail, sessions
fall back. What it prints goes to the descriptor of stdout, as ONNX Runtime's own lines do.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from onnxpath.engine import cuda, driver
from onnxpath.engine.providers import CPU, CUDA

Plain = onnxruntime.InferenceSession


@dataclass
class Machine:
    """What a simulated machine was asked for. asked: providers of sessions, in order; bound: where outputs
    were put, by name; uploads: arrays that were copied to the device. faults: "libraries", "start", "kernel",
    "falls back", "product"; only sessions after the probe have them.
    """

    faults: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    bound: list[tuple[str, str]] = field(default_factory=list)
    uploads: int = 0
    runs: int = 0


def say(text: str) -> None:
    """As a library in C prints."""
    os.write(1, text.encode() + b"\n")


def simulate(monkeypatch: pytest.MonkeyPatch, *faults: str) -> Machine:
    """Replace what the package uses of `onnxruntime`; a fault in quotes with "probe: " before it holds from
    the beginning."""
    machine = Machine()
    early = {fault.removeprefix("probe: ") for fault in faults if fault.startswith("probe: ")}
    machine.faults |= early

    class Session(Plain):
        def __init__(self, model: bytes, options=None, providers=(), **more):
            names = [p if isinstance(p, str) else p[0] for p in providers]
            machine.asked.append(names[0])
            self._claimed = names[0] == CUDA and "libraries" not in machine.faults
            if self._claimed and "start" in machine.faults:
                say("EP Error when using CUDA")
                raise RuntimeError("CUDA failure 35: driver version is insufficient\nand a second line")
            super().__init__(model, options, providers=[CPU], **more)

        def get_providers(self):
            return [CUDA, CPU] if self._claimed else [CPU]

        def get_provider_graph_assignment_info(self):
            parts = super().get_provider_graph_assignment_info()
            if not self._claimed or "product" in machine.faults:
                return parts
            return [SimpleNamespace(ep_name=CUDA, get_nodes=part.get_nodes) for part in parts]

        def _fails(self) -> None:
            if not self._claimed:
                return
            machine.runs += 1
            if "falls back" in machine.faults:
                self._claimed = False
            if "kernel" in machine.faults:
                say("EP Error: CUDNN_STATUS_EXECUTION_FAILED")
                if not self._enable_fallback:
                    raise RuntimeError("CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0")
                say("Falling back to ['CPUExecutionProvider'] and retrying.")
                self._claimed = False

        def run(self, *arguments, **more):
            self._fails()
            return super().run(*arguments, **more)

        def run_with_ort_values(self, *arguments, **more):
            self._fails()
            return super().run_with_ort_values(*arguments, **more)

        def run_with_iobinding(self, *arguments, **more):
            self._fails()
            return super().run_with_iobinding(*arguments, **more)

    place, bind = onnxruntime.OrtValue.ortvalue_from_numpy, onnxruntime.IOBinding.bind_output

    def placed(array: np.ndarray, memory: str = "cpu", number: int = 0):
        machine.uploads += memory == "cuda"
        return place(array if memory == "cpu" else array.copy(), "cpu", number)

    def bound(self, name: str, memory: str = "cpu", number: int = 0):
        machine.bound.append((name, memory))
        bind(self, name, "cpu", number)

    def loaded() -> None:
        if "libraries" in machine.faults:
            print("Failed to load libcublasLt.so.13: cannot open shared object file")
        say("a line of a library in C")

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", staticmethod(placed))
    monkeypatch.setattr(onnxruntime.IOBinding, "bind_output", bound)
    monkeypatch.setattr(onnxruntime, "preload_dlls", loaded, raising=False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(driver, "missing", lambda cuda=0: None)
    monkeypatch.delenv(cuda._EMULATION, raising=False)
    cuda.cuda_missing.cache_clear()
    if not early:
        assert cuda.cuda_missing() is None
    machine.asked.clear()
    machine.bound.clear()
    machine.uploads = machine.runs = 0
    machine.faults |= {fault for fault in faults if not fault.startswith("probe: ")}
    return machine


def narrowed(bits: int, up: bool) -> Callable:
    """The float32 operands of a probe as a device keeps them that has `bits` bits of mantissa; up: rounded to
    nearest, else cut."""
    return lambda model, feeds: plainly(model, {name: kept(array, bits, up) for name, array in feeds.items()})


def kept(array: np.ndarray, bits: int, up: bool) -> np.ndarray:
    """float32 numbers in `bits` bits of mantissa; others as they are."""
    if array.dtype != np.float32:
        return array
    drop = np.uint64(23 - bits)
    whole = array.view(np.uint32).astype(np.uint64) + np.uint64((1 << (22 - bits)) if up else 0)
    return (whole >> drop << drop).astype(np.uint32).view(np.float32)


def plainly(model: bytes, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model on the CPU."""
    session = Plain(model, providers=[CPU])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))
