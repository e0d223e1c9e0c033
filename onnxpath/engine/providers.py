"""Starting a session of ONNX Runtime on one provider, and on no other.

Left to itself ONNX Runtime falls back: a provider whose libraries do not load is skipped, and a session whose
kernel fails is made again on the CPU, with the same results and another provenance. Here a session has the
provider that it was asked for, or there is an error; `ran` asks again after every run. Single nodes may still
be on the CPU (shapes, functions without a kernel): never one that multiplies.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import onnxruntime
from onnxruntime import (
    InferenceSession,
    SessionOptions,  # pyright: ignore[reportAttributeAccessIssue] - of a native module without stubs
)

from onnxpath.engine.quiet import stdout_to_stderr
from onnxpath.errors import ProviderError

# Names that ONNX Runtime gives its providers.
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

# IEEE products; the algorithms of cuDNN that it takes without trying any; memory as it is asked for, not in
# powers of two.
CUDA_OPTIONS = {
    "use_tf32": "0",
    "cudnn_conv_algo_search": "DEFAULT",
    "arena_extend_strategy": "kSameAsRequested",
}

# Nodes whose sums of products a certificate counts.
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")

Result = TypeVar("Result")


def reason(error: Exception) -> str:
    """The first line of what ONNX Runtime says, or the kind of error where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def quietly(provider: str) -> AbstractContextManager[None]:
    """No provider but the CPU's is trusted with stdout."""
    return nullcontext() if provider == CPU else stdout_to_stderr()


def start(model: bytes, provider: str, options: SessionOptions) -> InferenceSession:
    """A session of a serialized model whose products run on the provider. Raises ProviderError where it would
    be another one."""
    providers: list = [CPU] if provider == CPU else [(provider, CUDA_OPTIONS), CPU]
    if provider != CPU:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        with quietly(provider):
            session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
            session.disable_fallback()
    except Exception as error:
        raise ProviderError(
            f"ONNX Runtime could not start a session on {provider}: {reason(error)}"
        ) from error
    _has(session, provider)
    if provider != CPU:
        _multiplies_there(session, provider)
    return session


def _has(session: InferenceSession, provider: str) -> None:
    found = session.get_providers()[0]
    if found != provider:
        raise ProviderError(f"ONNX Runtime fell back from {provider} to {found}; use --provider cpu")


def _multiplies_there(session: InferenceSession, provider: str) -> None:
    """Every product is on the provider; releases of ONNX Runtime that do not tell are believed."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return
    for part in session.get_provider_graph_assignment_info():
        elsewhere = [
            node.op_type
            for node in part.get_nodes()
            if part.ep_name != provider and node.op_type.endswith(_PRODUCTS)
        ]
        if elsewhere:
            raise ProviderError(
                f"ONNX Runtime puts a {elsewhere[0]} on {part.ep_name} instead of {provider}; use"
                " --provider cpu"
            )


def ran(session: InferenceSession, provider: str, run: Callable[[], Result]) -> Result:
    """What a run of the session gives, which the provider did. Raises ProviderError when another device
    fails, or did not do it."""
    if provider == CPU:
        found = run()
    else:
        try:
            with quietly(provider):
                found = run()
        except Exception as error:
            raise ProviderError(
                f"ONNX Runtime failed on {provider}: {reason(error)}; use --provider cpu"
            ) from error
    _has(session, provider)
    return found
