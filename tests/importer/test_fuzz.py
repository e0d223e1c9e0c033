"""Damaged files: whatever is in the bytes, the importer gives a Network or an OnnxPathError, and stays alive.

Real files are truncated, get bits flipped, bytes deleted or overwritten, and, as parsed models, their
attributes, shapes, operand names, types and operators edited. It runs in a process of its own, so that a
crash in native code is a failure too. Small files, of which any field of any message is edited
(small_models.py), go through path-norm, path-metric and inspection as well.
"""

import random
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import onnx
import pytest
from onnx import AttributeProto

DAMAGED = 300
CPU_SECONDS = (
    60  # what one file may take of the process's own time, which others on the machine do not take from it
)
EDITED = 150
LARGEST = 500_000
NUMBERS = [0, 1, -1, 2, 3, 7, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 10**12]


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Mostly near the ends, where a model keeps its structure rather than its weights."""
    out = bytearray(data)
    kind = rng.randrange(4)
    if kind == 0:
        return bytes(out[: rng.randrange(len(out))])
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        at = rng.randrange(len(out))
        at = (
            min(at, rng.randrange(4000))
            if rng.random() < 0.5
            else max(at, len(out) - 1 - rng.randrange(4000))
        )
        at = max(0, min(at, len(out) - 1))
        if kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del out[at : at + rng.choice([1, 1, 4, 30])]
        else:
            out[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(out)


def _edit_attribute(attribute: AttributeProto, rng: random.Random) -> None:
    if attribute.type == AttributeProto.INT:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == AttributeProto.INTS:
        change = rng.randrange(3)
        if change == 0 and attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
        elif change == 1:
            attribute.ints.append(rng.choice(NUMBERS))
        elif attribute.ints:
            attribute.ints.pop()
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice([0.0, -1.0, float("nan"), float("inf"), 1e38])
    else:
        attribute.type = rng.choice(
            [AttributeProto.INT, AttributeProto.FLOATS, AttributeProto.STRING, AttributeProto.GRAPH]
        )


def damaged_model(data: bytes, rng: random.Random) -> onnx.ModelProto:
    """A few edits that keep the file a well-formed protobuf."""
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    tensors = (
        [t.name for t in graph.initializer]
        + [name for n in graph.node for name in n.output]
        + [i.name for i in graph.input]
    )
    for _ in range(rng.choice([1, 1, 2, 4])):
        node = rng.choice(graph.node)
        kind = rng.randrange(9)
        if kind <= 1 and node.attribute:
            _edit_attribute(rng.choice(node.attribute), rng)
        elif kind == 2 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice([*tensors, "", "nothing"])
        elif kind == 3:
            node.op_type = rng.choice(
                [
                    "Relu",
                    "Conv",
                    "Gemm",
                    "Add",
                    "Reshape",
                    "Concat",
                    "Slice",
                    "MaxPool",
                    "Shape",
                    "Gather",
                    "Resize",
                    "Split",
                    "",
                ]
            )
        elif kind == 4 and graph.initializer:
            tensor = rng.choice(graph.initializer)
            if tensor.dims:
                tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        elif kind == 5 and graph.initializer:
            rng.choice(graph.initializer).data_type = rng.randrange(30)
        elif kind == 6:
            dims = rng.choice(graph.input).type.tensor_type.shape.dim
            if dims:
                rng.choice(dims).dim_value = rng.choice(NUMBERS)
        elif kind == 7 and node.attribute:
            del node.attribute[rng.randrange(len(node.attribute))]
        elif kind == 8 and len(node.input):
            rng.choice([node.input, node.output]).append(rng.choice(tensors))
        small = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT64 and t.raw_data]
        if small and rng.random() < 0.3:
            tensor = rng.choice(small)
            tensor.raw_data = b"".join(
                rng.choice(NUMBERS).to_bytes(8, "little", signed=True)
                for _ in range(len(tensor.raw_data) // 8)
            )
    return model


def attack(files: list[Path], count: int, seed: int) -> None:
    """Import that many damaged files; prints what came of them, and raises what should not have."""
    from onnxpath.errors import OnnxPathError
    from onnxpath.importer import load
    from onnxpath.model.network import Network

    rng = random.Random(seed)
    originals = [data for data in (path.read_bytes() for path in files) if len(data) < LARGEST]
    found: Counter[str] = Counter()
    for _ in range(count):
        state = rng.getstate()
        data = rng.choice(originals)
        source = damaged_bytes(data, rng) if rng.random() < 0.5 else damaged_model(data, rng)
        begun = time.process_time()
        try:
            assert isinstance(load(source), Network)
            found["Network"] += 1
        except OnnxPathError as error:
            found[type(error).__name__] += 1
            assert "\n" not in str(error)
            cause = error.__cause__
            if "cannot be interpreted" in str(error) and cause is not None:
                found[
                    "cannot be interpreted: "
                    + traceback.format_exception(cause)[-2].strip().replace("\n", " ")[:160]
                ] += 1
        except BaseException:
            print("state:", hash(state), type(source))
            raise
        assert time.process_time() - begun < CPU_SECONDS, "a damaged file took too long"
    print(dict(found))


def edit(count: int, seed: int) -> None:
    """Analyse edited small files; prints what came of them, and raises what should not have."""
    from small_models import edited, models

    import onnxpath
    from onnxpath.errors import LONGEST, OnnxPathError
    from onnxpath.importer import load

    rng, originals = random.Random(seed), models()
    found: Counter[str] = Counter()
    for number in range(count):
        data = edited(rng.choice(originals), rng).SerializeToString()
        for analyse in (
            onnxpath.path_norm,
            lambda data: onnxpath.path_metric(data, data),
            onnxpath.inspect,
            lambda data: load(data, extended=True),
        ):
            try:
                analyse(data)
                found["analysed"] += 1
            except OnnxPathError as error:
                found[type(error).__name__] += 1
                assert "\n" not in str(error) and len(str(error)) <= LONGEST
                if analyse is onnxpath.path_norm and type(error).__name__ == "ModelError":
                    break  # it cannot be read
            except BaseException:
                print("number:", number)
                raise
    print(dict(found))


def test_edited_small_files_give_a_result_or_an_error_that_can_be_read() -> None:
    command = [sys.executable, __file__, "edit", str(EDITED), "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 0 and not done.stderr, done.stdout[-1000:] + done.stderr[-3000:]
    assert "analysed" in done.stdout and "ModelError" in done.stdout and "UnsupportedError" in done.stdout


@pytest.mark.parametrize("seed", [0])
def test_damaged_files_give_a_network_or_an_error_that_can_be_read(
    real_models: Path, seed: int, thorough: bool
) -> None:
    command = [
        sys.executable,
        __file__,
        str(DAMAGED * (20 if thorough else 1)),
        str(seed),
        *map(str, sorted(real_models.glob("*.onnx"))),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert "Network" in done.stdout and "ModelError" in done.stdout and "UnsupportedError" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("name", ["mnist_cntk", "cifar_deep_kw"])
def test_every_truncation_is_refused(real_models: Path, name: str) -> None:
    from onnxpath.errors import OnnxPathError
    from onnxpath.importer import load

    data = (real_models / f"{name}.onnx").read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(data), len(data) // 60), len(data) - 1]:
        try:
            network = load(data[:length])
        except OnnxPathError:
            continue
        # what remains after the graph are only version fields
        assert network.nodes and length > 0.99 * len(data)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    if sys.argv[1] == "edit":
        edit(int(sys.argv[2]), int(sys.argv[3]))
    else:
        attack([Path(name) for name in sys.argv[3:]], int(sys.argv[1]), int(sys.argv[2]))
