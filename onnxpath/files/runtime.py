"""How the user's files are run: ONNX Runtime with its default session options, as a program of theirs would,
unless they say otherwise.

--file-provider NAME           cpu (default), cuda, or the name of any provider of this build of ONNX Runtime
--file-option KEY=VALUE        a field of onnxruntime.SessionOptions (graph_optimization_level=disable_all,
                               intra_op_num_threads=1) or, where KEY has a dot, a session configuration entry
                               (session.qdq_matmulnbits_accuracy_level=1)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import onnxruntime
from onnxruntime import SessionOptions  # pyright: ignore[reportAttributeAccessIssue] - of a native module without stubs

from onnxpath.errors import ProviderError, UsageError

_LEVELS = {
    "disable_all": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_MODES = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}
_NUMBERS = ("intra_op_num_threads", "inter_op_num_threads")
_SWITCHES = ("enable_cpu_mem_arena", "enable_mem_pattern", "enable_mem_reuse", "use_deterministic_compute")


@dataclass(frozen=True)
class Runtime:
    """provider: "cpu", "cuda", or a provider's name. options: (key, value) pairs, as `--file-option` takes
    them. threads: of one session, 0 for ONNX Runtime's default. Raises UsageError for a key or value that
    ONNX Runtime would not know.
    """

    provider: str = "cpu"
    options: tuple[tuple[str, str], ...] = ()
    threads: int = 0

    def __post_init__(self) -> None:
        for key, value in self.options:
            _check(key, value)

    @classmethod
    def parse(cls, provider: str, options: Iterable[str], threads: int = 0) -> "Runtime":
        """From what stands behind --file-provider and --file-option."""
        pairs = []
        for text in options:
            key, equals, value = text.partition("=")
            if not key or not equals:
                raise UsageError(f"--file-option takes KEY=VALUE, not '{text}'")
            pairs.append((key, value))
        return cls(provider, tuple(pairs), threads)

    def provider_name(self) -> str:
        """ONNX Runtime's name of the provider; raises ProviderError where this build has none of that
        name."""
        known = onnxruntime.get_available_providers()
        wanted = self.provider.lower()
        for name in known:
            if wanted in (name.lower(), name.lower().removesuffix("executionprovider")):
                return name
        raise ProviderError(
            f"this build of ONNX Runtime has no provider '{self.provider}' to run files on (--file-provider);"
            f" it has {', '.join(known)}"
        )

    def session_options(self) -> SessionOptions:
        """Fresh options for one session: the defaults, silent, and what was asked for."""
        made = onnxruntime.SessionOptions()
        made.log_severity_level = 4
        made.intra_op_num_threads = self.threads
        for key, value in self.options:
            if "." in key:
                made.add_session_config_entry(key, value)
            elif key == "graph_optimization_level":
                made.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[value])
            elif key == "execution_mode":
                made.execution_mode = getattr(onnxruntime.ExecutionMode, _MODES[value])
            else:
                setattr(made, key, int(value) if key in _NUMBERS else value == "true")
        return made

    def to_dict(self) -> dict[str, Any]:
        return {"provider": self.provider, "options": dict(self.options)}


def _check(key: str, value: str) -> None:
    if "." in key:
        return
    allowed = {"graph_optimization_level": tuple(_LEVELS), "execution_mode": tuple(_MODES)} | dict.fromkeys(
        _SWITCHES, ("true", "false")
    )
    if key in _NUMBERS:
        if not value.isdecimal():
            raise UsageError(f"--file-option {key}: '{value}' is not a whole number")
    elif key not in allowed:
        names = ", ".join((*allowed, *_NUMBERS))
        raise UsageError(
            f"--file-option: '{key}' is not an option of a session; there are {names}, and configuration"
            " entries with a dot"
        )
    elif value not in allowed[key]:
        raise UsageError(f"--file-option {key}: '{value}' is not one of {', '.join(allowed[key])}")


DEFAULT = Runtime()
