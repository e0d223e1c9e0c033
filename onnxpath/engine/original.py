"""Running an ONNX file as it is, in plain ONNX Runtime: the check that what was found with canonical networks is true of the files.

A file's outputs may lie behind nodes that the importer left off (a final Softmax); the tensor before them is made an output of
the graph in memory. Weights in external files stay there.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnxpath.errors import ProviderError

_DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def run_original(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto",
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    tails: Mapping[str, str] | None = None,
) -> list[np.ndarray]:
    """The values of a file's outputs for the given inputs, on the CPU.

    inputs: by the file's names; inputs of the file that are not given are zeros. outputs: names of outputs of the file.
    tails: the tensors of the file to read instead, as `Network.tails` lists them; an output that is not listed cannot be read. Raises ProviderError, with the reason, where ONNX
    Runtime does not run the file or where its input type cannot hold the inputs exactly.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    label = str(path) if path is not None else "the model"
    try:
        if path is not None and (tails is None or all(tails.get(name) == name for name in outputs)):
            session = onnxruntime.InferenceSession(path, options, providers=providers)
        else:
            model, outputs = _before(label, source if path is None else onnx.load(path, load_external_data=False), outputs, tails)
            if path is not None:
                folder = os.path.dirname(os.path.abspath(path))
                options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
        feeds = {item.name: _feed(label, item, inputs.get(item.name)) for item in session.get_inputs()}
        values = [np.asarray(array) for array in session.run(list(outputs), feeds)]
        if any(array.dtype.kind != "f" for array in values):
            raise ProviderError(f"{label}: what its output is made of is stored as integers there")
        return values
    except ProviderError:
        raise
    except Exception as error:  # what ONNX Runtime raises has no common class
        raise ProviderError(f"{label}: ONNX Runtime does not run it: {(str(error).splitlines() or ['no reason given'])[0]}") from error


def _before(label: str, source: object, outputs: Sequence[str], tails: Mapping[str, str] | None) -> tuple[onnx.ModelProto, list[str]]:
    """The model with the tensors that the nodes left off read among its outputs, and their names."""
    model = onnx.ModelProto()
    model.ParseFromString(bytes(source)) if isinstance(source, bytes | bytearray | memoryview) else model.CopyFrom(source)  # type: ignore[arg-type]
    found = list(outputs) if tails is None else [tails.get(name, "") for name in outputs]
    if "" in found:
        name = outputs[found.index("")]
        raise ProviderError(
            f"{label}: no tensor of it holds what its output '{name}' is made of: it is stored as integers there, or in a function"
        )
    declared = {info.name for info in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(found) if name not in declared)
    return model, found


def _feed(label: str, item, array: np.ndarray | None) -> np.ndarray:
    """An input in the type that the file declares; zeros where none is given."""
    if item.type not in _DTYPES:
        raise ProviderError(f"{label}: its input '{item.name}' is a {item.type}, not a tensor of floats")
    dtype = _DTYPES[item.type]
    if array is None:
        return np.zeros([n if isinstance(n, int) else 1 for n in item.shape], dtype)
    cast = array.astype(dtype)
    if not np.array_equal(cast.astype(np.float64), array.astype(np.float64)):
        raise ProviderError(f"{label}: its input '{item.name}' is a {item.type}, which does not hold the point exactly")
    return cast
