"""A pass in a session of ONNX Runtime: where it runs, in which precision, and what stays there.

On CUDA every product is a matrix product (`native_conv`): for those a provider option switches TF32 off, and
a probe (probe.py) shows that it is, while cuDNN chooses for every shape of a convolution whether to transform
it. float64 is evaluated on the CPU alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime
from onnxruntime import OrtValue

from onnxpath.engine import dump
from onnxpath.engine.cuda import cuda_missing
from onnxpath.engine.providers import CPU, CUDA, ran, start
from onnxpath.errors import ProviderError

# The name of a provider's memory.
_MEMORY = {CPU: "cpu", CUDA: "cuda"}
_FEW = 1 << 20


@dataclass(frozen=True)
class Device:
    """Where and how precisely passes are evaluated.

    provider: "auto" (CUDA when a GPU is there, else CPU), "cpu" or "cuda". precision: "float32" or "float64"
        (on the CPU only).
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
        if (self.provider, self.precision) == ("cuda", "float64"):
            raise ProviderError(
                "float64 is not evaluated on CUDA; use --provider cpu (or auto, which takes the CPU for"
                " --precision float64)"
            )

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.precision)

    def for_size(self, numbers: int) -> "Device":
        """For work whose tensors hold at most so many numbers: one thread where that is few. Waking others
        takes as long as the work, and ONNX Runtime splits a matrix product by the number of threads, so that
        the last digits of its sums depend on it.
        """
        return replace(self, threads=1) if numbers <= _FEW else self

    @property
    def double(self) -> "Device":
        """Where float64 is evaluated for what runs on this device otherwise."""
        return Device("cpu", "float64", self.threads)

    def resolve(self) -> str:
        """The execution provider to use; raises ProviderError when CUDA was asked for and cannot run here."""
        if self.provider == "cpu" or self.precision == "float64":
            return CPU
        missing = cuda_missing()
        if missing is None:
            return CUDA
        if self.provider == "cuda":
            raise ProviderError(f"provider 'cuda' is not available: {missing}; use --provider cpu, or auto")
        return CPU

    @property
    def native_conv(self) -> bool:
        """Whether convolutions are ONNX's own, not spelled as matrix products."""
        return self.precision == "float32" and self.resolve() == CPU

    @property
    def products(self) -> str:
        """Why sums of products err by no more than the certificates say: "ieee" (of the CPU's kernels), or
        "probed" (matrix products with TF32 off, after a probe of the device)."""
        return "ieee" if self.resolve() == CPU else "probed"


class Session:
    """One pass ready to run: a graph, its bound arrays, and the provider it really runs on."""

    def __init__(self, model: bytes, feeds: Mapping[str, np.ndarray], device: Device, deep: bool = False):
        """deep: no graph optimisation, no static memory plan and none made of the first run, whose time grows
        with the square of the number of nodes."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = device.threads
        # the threads of one session would go on spinning for a while and take the cores from the session that
        # runs next
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if deep:
            options.enable_mem_reuse = options.enable_mem_pattern = False
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.provider = device.resolve()
        dump.keep(model)
        self._session = start(model, self.provider, options)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._bound: dict[str, OrtValue] = {}
        self.rebind(feeds)

    def place(self, array: np.ndarray | OrtValue) -> OrtValue:
        """An array in the provider's memory; a value of another session stays where it is."""
        if isinstance(array, OrtValue):
            return array
        return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), _MEMORY[self.provider], 0)

    def rebind(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Replace bound arrays: the same graph for other parameters."""
        self._bound |= {name: self.place(array) for name, array in feeds.items()}

    def _run(
        self, inputs: Mapping[str, np.ndarray | OrtValue], outputs: Mapping[str, OrtValue | None]
    ) -> list[OrtValue]:
        """Evaluate into the values of `outputs`; where there is none, into new ones in the provider's
        memory."""
        binding = self._session.io_binding()
        for name, value in self._bound.items():
            if name not in inputs:
                binding.bind_ortvalue_input(name, value)
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, self.place(array))
        for name, value in outputs.items():
            if value is None:
                binding.bind_output(name, _MEMORY[self.provider], 0)
            else:
                binding.bind_ortvalue_output(name, value)

        def run() -> list[OrtValue]:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            return binding.get_outputs()

        return ran(self._session, self.provider, run)

    def hold(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, OrtValue]:
        """Evaluate; `inputs` are the arrays given at every run. The results stay where they are, as inputs of
        another session."""
        names = list(outputs) if outputs is not None else self._outputs
        return dict(zip(names, self._run(inputs, dict.fromkeys(names)), strict=True))

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Evaluate, results as arrays."""
        return {name: value.numpy() for name, value in self.hold(inputs, outputs).items()}

    def run_into(
        self, inputs: Mapping[str, np.ndarray | OrtValue], outputs: Mapping[str, np.ndarray]
    ) -> None:
        """Evaluate and write the outputs into contiguous arrays of the right dtype. An output may take the
        place of an input that only an element-wise operation reads, the one that computes it."""
        self._run(inputs, {name: OrtValue.ortvalue_from_numpy(array) for name, array in outputs.items()})
