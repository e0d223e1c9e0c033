"""Wrong storage: external data replaced, moved, or of another layer; every model file is the one it was."""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, TensorProto

from gate.editing import Kinds, Variant, constants, copied, layer

KINDS = Kinds()
DATA = "weights.data"


def external(source: ModelProto) -> tuple[ModelProto, dict[str, bytes], dict[str, tuple[int, int]]]:
    """The model with its float weights in a file beside it, that file, and where each lies: (offset,
    length)."""
    model, data, places = copied(source), b"", {}
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.raw_data) <= 16:
            continue
        places[tensor.name] = len(data), len(tensor.raw_data)
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", DATA),
            ("offset", places[tensor.name][0]),
            ("length", places[tensor.name][1]),
        ):
            tensor.external_data.add(key=key, value=str(value))
    return model, {DATA: data}, places


def _weights(source: ModelProto) -> list[tuple[str, str]]:
    return [(node.name, name) for node in source.graph.node if (name := layer(source, node))]


@KINDS.kind("external data: one weight in it replaced")
def _replaced(source: ModelProto) -> Iterator[Variant]:
    model, files, places = external(source)
    for place, name in _weights(source):
        if name in places:
            (start, length), array = places[name], constants(source)[name].copy()
            array[0] *= -1
            data = files[DATA][:start] + array.tobytes() + files[DATA][start + length :]
            yield Variant(place, model, model, files, {DATA: data})


@KINDS.kind("external data: of other weights")
def _other(source: ModelProto) -> Iterator[Variant]:
    model, files, places = external(source)
    if places:
        array = np.frombuffer(files[DATA], np.float32)
        yield Variant("all", model, model, files, {DATA: (array * np.float32(0.9)).tobytes()})
        yield Variant("zeros", model, model, files, {DATA: bytes(len(files[DATA]))})


def _edited(model: ModelProto, name: str, **values: object) -> ModelProto:
    changed = copied(model)
    tensor = next(tensor for tensor in changed.graph.initializer if tensor.name == name)
    for item in tensor.external_data:
        if item.key in values:
            item.value = str(values[item.key])
    return changed


@KINDS.kind("external data: an offset shifted by one number")
def _shifted(source: ModelProto) -> Iterator[Variant]:
    model, files, places = external(source)
    for place, name in _weights(source):
        if name in places:
            start, length = places[name]
            moved = start + 4 if start + 4 + length <= len(files[DATA]) else start - 4
            if moved >= 0:
                yield Variant(place, _edited(model, name, offset=moved), model, files, files)


@KINDS.kind("external data: two tensors point to one place")
def _same(source: ModelProto) -> Iterator[Variant]:
    model, files, places = external(source)
    for place, name in _weights(source):
        other = next(
            (key for key in places if key != name and places[key][1] == places.get(name, (0, 0))[1]), None
        )
        if name in places and other is not None:
            yield Variant(place, _edited(model, name, offset=places[other][0]), model, files, files)


@KINDS.kind("external data: of the other byte order")
def _bytes(source: ModelProto) -> Iterator[Variant]:
    model, files, places = external(source)
    if places:
        yield Variant(
            "all", model, model, files, {DATA: np.frombuffer(files[DATA], np.float32).byteswap().tobytes()}
        )


@KINDS.kind("external data: another file of the folder")
def _location(source: ModelProto) -> Iterator[Variant]:
    model, files, places = external(source)
    for place, name in _weights(source):
        if name in places:
            start, length = places[name]
            array = -np.frombuffer(files[DATA], np.float32)
            both = {**files, "old.data": array.tobytes()}
            yield Variant(place, _edited(model, name, location="old.data"), model, both, both)
