"""Path-lifting, Lipschitz and generalization bounds of the paper (docs/lipschitz.md,
docs/generalization.md)."""
