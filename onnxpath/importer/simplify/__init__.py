"""Canonical nodes -> the canonical form."""
