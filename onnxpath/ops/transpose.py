"""Transpose by `perm`. Its adjoint transposes by the inverse permutation."""

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, once


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Transpose", inputs, perm=list(site["perm"]))


def _adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    return g.op("Transpose", [cotangent], perm=[int(k) for k in np.argsort(site["perm"])])


def _image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0].transpose(site["perm"])


OPERATOR = Operator(
    name="Transpose", kind="movement", view=False,
    emit=_emit, adjoints={"input": _adjoint}, image=_image, fan_out=once,
    norm=norms.moved,
    edges=edges.moved(_image), regular=always, keeps_batch=lambda site: site["perm"][0] == 0,
)  # fmt: skip
