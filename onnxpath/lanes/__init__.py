"""The paper's passes over a network or a pair: non-negative numbers with exponents of their own."""
