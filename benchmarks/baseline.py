"""What a script that compares two files on one input does at least: read both, open both in ONNX Runtime, run
both once.

    python benchmarks/baseline.py [--without-onnx] A.onnx B.onnx

--without-onnx leaves out `onnx` and reading the files with it: the least that running both models can cost.
"""

import sys

import numpy as np
import onnxruntime

paths = [argument for argument in sys.argv[1:] if argument != "--without-onnx"]
if "--without-onnx" not in sys.argv:
    import onnx

    models = [onnx.load(path) for path in paths]

sessions = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in paths]
outputs = []
for session in sessions:
    given = session.get_inputs()[0]
    ones = np.ones([d if isinstance(d, int) else 1 for d in given.shape], np.float32)
    outputs.append(session.run(None, {given.name: ones})[0])
print(float(np.abs(outputs[0] - outputs[1]).max()))
