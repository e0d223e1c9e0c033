"""Nodes of the file -> canonical nodes: constant folding, rules, activations spelled in several nodes."""
