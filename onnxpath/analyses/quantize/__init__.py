"""Quantizing a model's weights with a certificate, and which layer to blame for what it costs
(docs/quantization.md)."""
