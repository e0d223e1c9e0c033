"""The parsed model -> the nodes that matter, in order, with shapes, and what the file declares."""
