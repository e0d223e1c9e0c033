"""Path-norms, and path-metrics of two networks: exact, as an interval, in ℓ2, or estimated
(docs/theory.md)."""
