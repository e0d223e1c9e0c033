"""What any tool that changes a file does at least: read it, open a session, save it. `python resave.py MODEL
OUT`"""

import sys

import onnx
import onnxruntime

model = onnx.load(sys.argv[1])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
onnx.save(model, sys.argv[2])
