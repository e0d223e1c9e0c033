"""A pass as an ONNX graph in an ONNX Runtime session."""
