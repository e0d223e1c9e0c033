"""Does removing channels make plain ONNX Runtime faster?

    python benchmarks/channels.py [--models resnet18 ...] [--rounds N] [--cache FOLDER]

Half of the channels of every layer leave the file (`onnxpath prune --pattern channels --scope layer
--sparsity 0.5`), and half of its weights are set to zero instead (`--sparsity 0.5`): zeros alone do not make
a dense convolution faster. All sessions run in this process, one ratio per round.
"""

from functools import partial
from pathlib import Path

import measure
import numpy as np
import onnxruntime
import twins

import onnxpath

SHARE = 0.5


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main(options: list[str] | None = None) -> None:
    parser = measure.arguments(__doc__, 5)
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet50"])
    chosen = parser.parse_args(options)
    with measure.folder(chosen.cache) as folder:
        for name in chosen.models:
            measure.say(f"{name}")
            original = Path(twins.files(name, folder, ())["original"])
            files = {"channels": folder / f"{name}-channels.onnx", "zeros": folder / f"{name}-zeros.onnx"}
            onnxpath.prune(
                original, files["channels"], sparsity=SHARE, pattern="channels", scope="layer", provider="cpu"
            )
            onnxpath.prune(original, files["zeros"], sparsity=SHARE, provider="cpu")
            sessions = {"plain": session(original)} | {kind: session(path) for kind, path in files.items()}
            shape = sessions["plain"].get_inputs()[0].shape
            x = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
            cases = {kind: partial(found.run, None, x) for kind, found in sessions.items()}
            found = measure.interleaved(cases, chosen.rounds)
            sizes = {kind: path.stat().st_size for kind, path in {"plain": original, **files}.items()}
            rows = [
                measure.Row(
                    "inference of the file / without half of the channels",
                    measure.ratios(found["plain"], found["channels"]),
                    (">=", 1.2),
                ),
                measure.Row(
                    "inference of the file / with half of the weights 0",
                    measure.ratios(found["plain"], found["zeros"]),
                ),
                measure.Row(
                    "bytes of the file / without half of the channels", [sizes["plain"] / sizes["channels"]]
                ),
            ]
            print(f"### {name}\n\nOne plain inference: {1000 * min(found['plain']):.1f} ms.\n")
            print(measure.table(measure.HEADER, [row.cells() for row in rows]))


if __name__ == "__main__":
    main()
