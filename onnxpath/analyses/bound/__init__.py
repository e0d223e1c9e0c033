"""How much the outputs of two networks can differ over a domain: certified bounds, margins and flips
(docs/bounds.md)."""
