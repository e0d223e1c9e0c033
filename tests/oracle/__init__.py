"""Oracles that share nothing with the package but its data model."""
