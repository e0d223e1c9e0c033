"""The Python interface: the same results as the commands, as functions that `onnxpath` hands out.

Every function takes a path, bytes, an onnx.ModelProto or a loaded `Network`, and returns a frozen record.
provider, precision, threads: where passes are evaluated (`onnxpath.engine.session.Device`). file_provider,
file_options: how the files themselves are run (docs/running.md).
"""
