"""The experiments of the paper (Section 4.2, Appendix D): `python -m benchmarks.paper` in the root of the
repository."""
