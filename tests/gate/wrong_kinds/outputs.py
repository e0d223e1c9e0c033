"""Wrong outputs: their names, order, number, types and shapes."""

import numpy as np
from onnx import ModelProto, TensorProto

from gate.editing import Kinds, after, shape, store

KINDS = Kinds()


def _first(model: ModelProto) -> str:
    return model.graph.output[0].name


def _shape(model: ModelProto) -> list[int | str]:
    found = shape(model, _first(model))
    assert found is not None
    return found


def _several(model: ModelProto) -> bool:
    return len(model.graph.output) > 1


def _reordered(model: ModelProto, order: list[int]) -> None:
    found = [model.graph.output[k].name for k in order]
    del model.graph.output[:]
    for name in found:
        model.graph.output.add(name=name)


def _also(model: ModelProto) -> str | None:
    """A tensor inside that is no output."""
    outputs = {value.name for value in model.graph.output}
    return next(
        (
            node.output[0]
            for node in reversed(model.graph.node)
            if node.op_type == "Relu" and node.output[0] not in outputs
        ),
        None,
    )


@KINDS.whole("outputs: order swapped")
def _order(model: ModelProto) -> bool | None:
    if not _several(model):
        return False
    _reordered(model, [1, 0])
    return None


@KINDS.whole("outputs: names swapped")
def _names(model: ModelProto) -> bool | None:
    if not _several(model):
        return False
    one, other = (model.graph.output[k].name for k in range(2))
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [{one: other, other: one}.get(name, name) for name in names]
    return None


@KINDS.whole("outputs: names and order swapped")
def _both(model: ModelProto) -> bool | None:
    if _names(model) is False:
        return False
    _reordered(model, [1, 0])
    return None


@KINDS.whole("outputs: renamed")
def _renamed(model: ModelProto) -> None:
    after(model, _first(model), "Identity").output[0] = "renamed"
    model.graph.output[0].name = "renamed"


@KINDS.whole("outputs: first dropped")
def _first_dropped(model: ModelProto) -> bool | None:
    if not _several(model):
        return False
    _reordered(model, [1])
    return None


@KINDS.whole("outputs: last dropped")
def _last_dropped(model: ModelProto) -> bool | None:
    if not _several(model):
        return False
    _reordered(model, [0])
    return None


@KINDS.whole("outputs: one added behind")
def _added(model: ModelProto) -> bool | None:
    inside = _also(model)
    if inside is None:
        return False
    model.graph.output.add(name=inside)
    return None


@KINDS.whole("outputs: one added in front")
def _in_front(model: ModelProto) -> bool | None:
    if _added(model) is False:
        return False
    last = len(model.graph.output) - 1
    _reordered(model, [last, *range(last)])
    return None


@KINDS.whole("outputs: the same one twice")
def _twice(model: ModelProto) -> None:
    node = after(model, _first(model), "Identity")
    model.graph.output.add(name=f"{_first(model)}_again")
    again = model.graph.node.add()
    again.CopyFrom(node)
    again.name, again.output[0] = "again", f"{_first(model)}_again"


@KINDS.whole("outputs: a tensor from inside instead")
def _inside(model: ModelProto) -> bool | None:
    inside = _also(model)
    if inside is None:
        return False
    after(model, _first(model), "Identity").input[0] = inside
    return None


def _type(name: str, kind: int) -> None:
    @KINDS.whole(f"outputs: of type {name}")
    def _change(model: ModelProto) -> None:
        after(model, _first(model), "Cast", to=kind)


_type("float16", TensorProto.FLOAT16)
_type("float64", TensorProto.DOUBLE)


@KINDS.whole("outputs: through float16 and back, scaled out of its range")
def _overflow(model: ModelProto) -> None:
    after(model, _first(model), "Mul", store(model, "large", np.float32(2e6)))
    after(model, _first(model), "Cast", to=TensorProto.FLOAT16)
    after(model, _first(model), "Cast", to=TensorProto.FLOAT)
    after(model, _first(model), "Mul", store(model, "small", np.float32(5e-7)))


@KINDS.whole("outputs: transposed")
def _transposed(model: ModelProto) -> None:
    rank = len(_shape(model))
    after(model, _first(model), "Transpose", perm=[*range(rank - 2), rank - 1, rank - 2])


@KINDS.whole("outputs: an axis added")
def _unsqueezed(model: ModelProto) -> None:
    after(model, _first(model), "Unsqueeze", store(model, "axis", np.array([1])))


@KINDS.whole("outputs: without the batch axis")
def _squeezed(model: ModelProto) -> None:
    after(model, _first(model), "Squeeze", store(model, "axis", np.array([0])))


@KINDS.whole("outputs: flattened")
def _flattened(model: ModelProto) -> None:
    after(model, _first(model), "Reshape", store(model, "flat", np.array([-1])))


@KINDS.whole("outputs: a map of channels last")
def _channels_last(model: ModelProto) -> bool | None:
    if len(_shape(model)) != 4:
        return False
    after(model, _first(model), "Transpose", perm=[0, 2, 3, 1])
    return None


@KINDS.whole("outputs: entries reversed")
def _reversed(model: ModelProto) -> None:
    count = _shape(model)[1]
    after(model, _first(model), "Gather", store(model, "backwards", np.arange(count)[::-1]), axis=1)


@KINDS.whole("outputs: two classes swapped")
def _swapped(model: ModelProto) -> None:
    order = np.arange(_shape(model)[1])
    order[:2] = order[1::-1]
    after(model, _first(model), "Gather", store(model, "order", order), axis=1)


@KINDS.whole("outputs: a class dropped")
def _fewer(model: ModelProto) -> None:
    count = _shape(model)[1]
    after(model, _first(model), "Gather", store(model, "first", np.arange(count - 1)), axis=1)


@KINDS.whole("outputs: a class of zeros added")
def _more(model: ModelProto) -> None:
    rank = len(_shape(model))
    pads = np.zeros(2 * rank, np.int64)
    pads[rank + 1] = 1
    after(model, _first(model), "Pad", store(model, "more", pads))
