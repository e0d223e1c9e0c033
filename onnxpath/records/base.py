"""What all documents are made of: magnitudes, and the tool that produced them."""

from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled


def number(value: Scaled) -> dict[str, float | None]:
    """A magnitude: `value` is null beyond float64, `log10` is null for 0, both for what is unbounded."""
    return {"value": value.value, "log10": value.log10}


def finite(value: float) -> float | None:
    """A float for JSON: null when it is not finite."""
    return value if abs(value) < float("inf") else None


@dataclass(frozen=True)
class Tool:
    """What produced a result. products: why sums of products err by no more than what is certified: "ieee" or
    "probed"."""

    version: str
    onnx: str
    onnxruntime: str
    provider: str
    precision: str
    products: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": "onnxpath", "version": self.version, "onnx": self.onnx, "onnxruntime": self.onnxruntime,
            "provider": self.provider, "precision": self.precision, "products": self.products,
        }  # fmt: skip
