"""Φ-costs, and pruning of files with a certificate (docs/pruning.md)."""
