"""One digest of everything that a model is read from: the file, and the parts of other files that hold its
tensors.

The sha256 of a file says nothing of its external data. With the bytes of the file F and, of every file L that
tensors name, the parts [s, e) that they take together,

    content = sha256(F)                                                       where all data is inside,
    content = sha256(sha256(F), (L, s, e, sha256 of L[s:e]) for all parts)    otherwise.

A part that cannot be read is a part all the same: what names it is another model once it can.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from onnxpath.errors import ModelError
from onnxpath.importer.decode.external import open_external
from onnxpath.importer.decode.tensors import stored_size

_CHUNK = 1 << 22


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and those inside its nodes."""
    stack = [graph]
    while stack:
        found = stack.pop()
        yield found
        for node in found.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    stack.append(attribute.g)
                stack.extend(attribute.graphs)


def external_tensors(model: ModelProto) -> list[TensorProto]:
    """Every tensor of the model whose data lies outside of it."""
    found: list[TensorProto] = []
    for graph in graphs(model.graph):
        found += graph.initializer
        for sparse in graph.sparse_initializer:
            found += (sparse.values, sparse.indices)
        found += (t for node in graph.node for t in _attribute_tensors(node))
    found += (t for function in model.functions for node in function.node for t in _attribute_tensors(node))
    return [tensor for tensor in found if tensor.data_location == TensorProto.EXTERNAL]


def _attribute_tensors(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


Part = tuple[str, int, int]
"""The name of a file, as the model spells it, the first byte, and how many bytes are taken."""


def external_parts(path: str, model: ModelProto) -> list[Part]:
    """The parts of other files that a model takes, those that overlap as one."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for tensor in external_tensors(model):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        start = size = 0
        with suppress(ModelError, ValueError):
            start, size = max(0, int(entries.get("offset") or 0)), max(0, stored_size(path, tensor))
        spans.setdefault(entries.get("location", ""), []).append((start, size))
    parts: list[Part] = []
    for location in sorted(spans):
        begin = end = None
        for start, size in sorted(spans[location]):
            if begin is None or end is None or start > end:
                parts += [] if begin is None or end is None else [(location, begin, end - begin)]
                begin, end = start, start + size
            else:
                end = max(end, start + size)
        if begin is not None and end is not None:
            parts.append((location, begin, end - begin))
    return parts


def digest(path: str, folder: str | None, parts: list[Part], sha256: str) -> str:
    """The digest of the file and these parts of others. sha256: of the file's bytes."""
    if not parts:
        return sha256
    whole = hashlib.sha256(sha256.encode())
    for part in parts:
        whole.update(f"{part} {_part(path, folder, *part)}\n".encode("utf-8", "surrogatepass"))
    return whole.hexdigest()


def _part(path: str, folder: str | None, location: str, start: int, size: int) -> str:
    part = hashlib.sha256()
    tensor = TensorProto(data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(start))):
        tensor.external_data.add(key=key, value=value)
    try:
        file, offset = open_external(path, folder, tensor, 0)  # what is beyond the end is no part of it
        with file:
            file.seek(offset)
            while size and (chunk := file.read(min(size, _CHUNK))):
                part.update(chunk)
                size -= len(chunk)
    except (ModelError, OSError):
        return "unreadable"
    return part.hexdigest()
