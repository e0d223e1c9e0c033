"""Rescalings that leave the function as it is: groups of channels, alignment, normalization, equalization
(docs/theory.md, 5)."""
