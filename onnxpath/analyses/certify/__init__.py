"""Where two networks provably predict the same class, box by box (docs/certify.md)."""
