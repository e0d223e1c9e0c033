"""ONNX Runtime sessions for passes: providers, threads, and no silent fallback.

CUDA sessions switch TF32 off and use cuDNN's default (non-Winograd) algorithms: the rounding certificate assumes IEEE
float32 inner products (docs/theory.md, section 6).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from onnxpath.errors import ProviderError

if TYPE_CHECKING:
    from onnxruntime import OrtValue

# Names a build of ONNX Runtime may give its CUDA provider.
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
_FEW = 1 << 20


@dataclass(frozen=True)
class Device:
    """Where and how precisely passes are evaluated.

    provider: "auto" (CUDA when a GPU is there, else CPU), "cpu" or "cuda". precision: "float32" or "float64".
    threads: intra-op threads, 0 for ONNX Runtime's default.
    """

    provider: str = "auto"
    precision: str = "float32"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.provider not in ("auto", "cpu", "cuda"):
            raise ProviderError(f"provider '{self.provider}' is not one of auto, cpu, cuda")
        if self.precision not in ("float32", "float64"):
            raise ProviderError(f"precision '{self.precision}' is not one of float32, float64")
        if self.threads < 0:
            raise ProviderError(f"threads must be 0 (automatic) or more, not {self.threads}")

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.precision)

    def for_size(self, numbers: int) -> "Device":
        """For work whose tensors hold at most so many numbers: one thread where that is few. Waking others takes as long as the work, and
        ONNX Runtime splits a matrix product by the number of threads, so that the last digits of its sums depend on it."""
        return replace(self, threads=1) if numbers <= _FEW else self

    def resolve(self) -> str:
        """The execution provider to use; raises ProviderError when CUDA was asked for and cannot run here."""
        if self.provider == "cpu" or (self.provider == "auto" and self.precision == "float64"):
            return CPU
        missing = cuda_missing()
        if missing is None:
            return CUDA
        if self.provider == "cuda":
            raise ProviderError(f"provider 'cuda' is not available: {missing}; use --provider cpu, or auto")
        return CPU

    @property
    def native_conv(self) -> bool:
        return self.precision == "float32" or self.resolve() == CUDA


CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}


@cache
def cuda_missing() -> str | None:
    """Why sessions cannot run on CUDA here, or None when one really does."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    if CUDA not in onnxruntime.get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider"
    devices = onnxruntime.get_ep_devices() if hasattr(onnxruntime, "get_ep_devices") else []
    if not any(device.ep_name == CUDA for device in devices) and not os.path.exists("/dev/nvidiactl"):
        return "no NVIDIA device was found on this machine"
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    try:
        session = onnxruntime.InferenceSession(_smallest_model(), providers=[(CUDA, CUDA_OPTIONS), CPU])
    except Exception as error:
        return str(error).splitlines()[0]
    return None if session.get_providers()[0] == CUDA else "ONNX Runtime could not load the CUDA libraries"


def _smallest_model() -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "smallest", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


class Session:
    """One pass ready to run: a graph, its bound arrays, and the provider it really runs on."""

    def __init__(self, model: bytes, feeds: Mapping[str, np.ndarray], device: Device, deep: bool = False):
        """deep: no graph optimisation and no static memory plan, whose time grows with the square of the number of nodes."""
        import onnxruntime

        provider = device.resolve()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = device.threads
        # the threads of one session would go on spinning for a while and take the cores from the session that runs next
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if deep:
            options.enable_mem_reuse = False
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        providers: list = [CPU]
        if provider == CUDA:
            providers = [(CUDA, CUDA_OPTIONS), CPU]
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:
            raise ProviderError(f"ONNX Runtime could not start a session on {provider}: {str(error).splitlines()[0]}") from error
        if self._session.get_providers()[0] != provider:
            raise ProviderError(f"ONNX Runtime fell back from {provider} to {self._session.get_providers()[0]}; use --provider cpu")
        self.provider = provider
        place = "cuda" if provider == CUDA else "cpu"
        self._place = place
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._bound = {}
        self.rebind(feeds)

    def _value(self, array: "np.ndarray | OrtValue") -> "OrtValue":
        from onnxruntime import OrtValue

        if isinstance(array, OrtValue):
            return array
        return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self._place, 0)

    def rebind(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Replace bound arrays: the same graph for other parameters."""
        self._bound |= {name: self._value(array) for name, array in feeds.items()}

    def hold(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> "dict[str, OrtValue]":
        """Evaluate; `inputs` are the arrays given at every run. The results stay where they are, as inputs of another session."""
        names = list(outputs) if outputs is not None else self._outputs
        values = self._bound | {name: self._value(array) for name, array in inputs.items()}
        return dict(zip(names, self._session.run_with_ort_values(names, values), strict=True))

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Evaluate, results as arrays."""
        return {name: value.numpy() for name, value in self.hold(inputs, outputs).items()}

    def run_into(self, inputs: "Mapping[str, np.ndarray | OrtValue]", outputs: Mapping[str, np.ndarray]) -> None:
        """Evaluate and write the outputs into contiguous arrays of the right dtype. An output may take the place of an input that
        only an element-wise operation reads, the one that computes it."""
        if self.provider == CUDA:
            for name, value in self.run(inputs, list(outputs)).items():
                outputs[name][...] = value
            return
        binding = self._session.io_binding()
        for name, value in (self._bound | {name: self._value(array) for name, array in inputs.items()}).items():
            binding.bind_ortvalue_input(name, value)
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, self._value(array))
        self._session.run_with_iobinding(binding)
